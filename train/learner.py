"""What learns: network, anchors and optimizer; one step of it, and what is kept between runs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE
from avol.train.anchors import ClassAnchors
from avol.train.checkpoint import save_checkpoint
from avol.train.data.batch import TensorBatch
from avol.train.losses import balanced_accuracy, box_loss, pair_loss
from avol.train.network import TwoTowerNetwork
from avol.train.parallel import Team, with_team_statistics
from avol.train.recipes import TrainingOptions, learning_rate_at
from avol.train.validation import ValidationAnswers

LARGEST_GRADIENT = 5.0  # norm; a rare hard batch does not undo a hundred others
STATE_FILE = "state.pt"


@dataclass(frozen=True)
class StepResult:
    """Of one step: the loss of the pairs, their balanced accuracy, and the map logits ``N x M x GH x GW``."""

    loss: float
    accuracy: float
    logits: Tensor


class Learner:
    """Network, anchors and optimizer on their device, as one process or as one of a team."""

    def __init__(
        self,
        network: TwoTowerNetwork,
        anchors: ClassAnchors | None,
        options: TrainingOptions,
        device: torch.device,
        team: Team,
    ) -> None:
        self.options, self.device, self.team = options, device, team
        # The paper's loss on single pairs is the recipe's; on all pairs of a batch each system has its own.
        self.loss_function = network.loss if options.all_pairs else pair_loss
        self.network = network.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.anchors = None if anchors is None else anchors.to(device)
        if team.size > 1:
            with_team_statistics(network)
        parameters = [*network.parameters(), *(anchors.parameters() if anchors is not None else ())]
        self.optimizer = _optimizer(parameters, options)

    def step(self, step: int, batch: TensorBatch) -> StepResult:
        """Learn from one batch.

        Where the loss or its gradient is no longer a number, nothing is learnt and the loss given is NaN.

        Raises:
            AvolError: fewer rows than processes.
        """
        if min(len(batch.frames), len(batch.samples)) < self.team.size:
            raise AvolError(
                f"torchrun: a batch of {len(batch.frames)} pictures and {len(batch.samples)} sounds is too little for "
                f"{self.team.size} processes; start fewer, or raise --batch."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.options)
        grid, vector = self.embed(batch)
        logits = self.network.head.all_pairs(grid, vector)
        loss = total = self.loss_function(logits, batch.matches, known=batch.known)
        if self.anchors is not None and batch.seen is not None and batch.heard is not None:
            weight = self.options.anchor_weight * (1 - 0.8 * step / self.options.steps)
            anchor_loss = self.anchors.loss(self.network.head, grid, vector, batch.seen, batch.heard)
            total = (1 - weight) * loss + weight * anchor_loss
        if self.options.box_weight and batch.located is not None and batch.sources is not None:
            rows = torch.nonzero(batch.located >= 0)[:, 0]
            total = total + self.options.box_weight * box_loss(logits[rows, batch.located[rows]], batch.sources[rows])
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        # The towers work on rows, of which each process has some; head and anchors see all rows in every process.
        for tower in (self.network.frame_tower, self.network.audio_tower):
            self.team.sum_gradients(tower)
        for shared in (self.network.head, self.anchors):
            if shared is not None:
                self.team.take_gradients(shared)
        gradient_norm = nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        if not math.isfinite(total.item() + gradient_norm.item()):
            return StepResult(math.nan, math.nan, logits.detach())
        self.optimizer.step()
        logits = logits.detach()
        return StepResult(loss.item(), balanced_accuracy(logits, batch.matches, batch.known), logits)

    def embed(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Grids ``N x E x GH x GW`` and vectors ``M x E`` of the whole batch, from the whole team.

        Spectrogram and head stay in float32 whatever the towers compute in.
        """
        frames, samples = self.team.share(batch.frames), self.team.share(batch.samples)
        columns = self.network.spectrogram(samples)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            grid, vector = self.network.frame_tower(frames), self.network.audio_tower(columns)
        gather = self.team.gather
        return gather(grid.float(), len(batch.frames)), gather(vector.float(), len(batch.samples))

    @torch.no_grad()
    def validate(self, batches: Iterable[TensorBatch]) -> dict[str, float]:
        """Answers to fixed batches, in evaluation mode (running statistics, no learning).

        Returns:
            ``validation_loss`` (mean over pictures), ``validation_accuracy`` (balanced, over the pairs of all batches),
            ``validation_auc``, and ``validation_right_quarter`` of batches that ask for that.
        """
        self.network.eval()
        answers = ValidationAnswers()
        for batch in batches:
            logits = self.network.head.all_pairs(*self.embed(batch))
            if batch.quarters is not None:
                answers.add_quarters(logits, batch.quarters)
            else:
                loss = self.loss_function(logits, batch.matches, known=batch.known).item()
                answers.add_pairs(loss, logits, batch.matches, batch.known)
        self.network.train()
        return answers.record()

    def resume(self, out: Path) -> int:
        """Take up the run in ``out``, if there is one; gives the number of steps already made.

        Raises:
            AvolError: ``out`` holds another run, or a state that cannot be read.
        """
        state = read_run(out, self.network.spec.preset, self.network.spec.training)
        if state is None:
            return 0
        try:
            self.network.load_state_dict(state["network"])
            if self.anchors is not None:
                self.anchors.load_state_dict(state["anchors"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError):
            # The anchors are one for each class, so other material shows here.
            raise AvolError(f"{out}: holds a run on other classes; choose another --out.") from None
        return int(state["step"])

    def is_finite(self) -> bool:
        """Whether all of the network is numbers: the step after the one that spoilt it would show it, too late."""
        tensors = (tensor for tensor in self.network.state_dict().values() if tensor.is_floating_point())
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def save(self, step: int, out: Path) -> None:
        """One file holds all that the next run needs, so that no kill can leave two halves of different steps.

        Raises:
            AvolError: ``out`` cannot be written; what was there stays.
        """
        state = {
            "step": step,
            "preset": self.network.spec.preset,
            "training": self.network.spec.training,
            "network": self.network.state_dict(),
            "anchors": {} if self.anchors is None else self.anchors.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with AtomicOutput(out / STATE_FILE) as output:
            buffer = io.BytesIO()  # written by torch itself, a full disk would be a fault of its ZIP container
            torch.save(state, buffer)
            try:
                output.temporary.write_bytes(buffer.getbuffer())
            except OSError as error:
                raise write_error(output.path, error) from None
            output.commit()
        self.save_checkpoint(step, out)

    def save_checkpoint(self, step: int, out: Path) -> None:
        """The network alone, as it is used; its spec says how many steps were made, not how many are asked for."""
        spec = self.network.spec
        spec = replace(spec, training=spec.training | {"steps": str(step)})
        save_checkpoint(self.network, spec, out / CHECKPOINT_FILE)


def read_run(out: Path, preset: str, training: dict[str, str]) -> dict[str, Any] | None:
    """The state of the run in ``out``; None if there is none.

    Args:
        out: folder of the run.
        preset: of the network that is to be trained.
        training: what the spec is going to say of the training, as far as it is known.

    Raises:
        AvolError: ``out`` holds another run, a checkpoint of unknown origin, or a state that cannot be read.
    """
    path = out / STATE_FILE
    if not path.is_file():
        if (out / CHECKPOINT_FILE).exists():
            raise AvolError(f"{out / CHECKPOINT_FILE}: is there without {STATE_FILE}; move it or choose another --out.")
        return None
    state = _read_state(path)
    if state["preset"] != preset:
        raise AvolError(f"{out}: holds a run of {state['preset']}, not of {preset}; choose another --out.")
    stored = state.get("training", {})
    # More steps go on with the same run; anything else that differs would be another one.
    common = stored.keys() & training.keys() - {"steps"}
    if wrong := sorted(key for key in common if stored[key] != training[key]):
        raise AvolError(f"{out}: holds a run with other {', '.join(wrong)}; choose another --out.")
    return state


def _optimizer(parameters: list[nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    if options.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
    # Weight decay for kernels and matrices alone; norms, and the head's scale and bias, find their own size.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate)


def _read_state(path: Path) -> dict[str, Any]:
    """What :meth:`Learner.save` wrote."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError, KeyError ... by kind of damage
        raise AvolError(f"{path}: not a readable training state; choose another --out.") from error
    if not isinstance(state, dict) or not {"step", "preset", "network", "anchors", "optimizer"} <= state.keys():
        raise AvolError(f"{path}: not a training state of avol train; choose another --out.")
    return state
