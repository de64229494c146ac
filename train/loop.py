"""The training loop: batches in, checkpoints out. Any step can be the last; the next run goes on from there."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.train.anchors import ClassAnchors
from avol.train.checkpoint import save_checkpoint
from avol.train.data.batch import Batch
from avol.train.losses import correspondence_loss
from avol.train.network import AvolNet

LARGEST_GRADIENT = 5.0  # norm; a rare hard batch does not undo a hundred others
DrawBatch = Callable[[np.random.Generator], Batch]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long and how fast to learn; ``precision`` is of the towers (``float32`` or ``bfloat16``)."""

    steps: int = 3000
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 100
    seed: int = 0
    precision: str = "float32"
    anchor_weight: float = 0.5  # at the start; falls to a fifth of it
    checkpoint_every: int = 200
    log_every: int = 20


def train(
    network: AvolNet, draw: DrawBatch, options: TrainingOptions, out: Path, *, anchors: ClassAnchors | None = None
) -> int:
    """Train ``network`` in place; writes ``checkpoint.safetensors``, ``state.pt`` and ``log.jsonl`` into ``out``.

    The batch of step ``k`` depends on the seed and ``k`` alone: a run that was cut off goes on as if it had not been.

    Returns:
        The steps that the network has made in all.

    Raises:
        AvolError: loss or gradient is no longer a number (the last good checkpoint stays), ``out`` holds another run,
            or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvolError(f"{out}: cannot be made ({error.strerror}); choose another --out.") from None
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = _Learner(network, anchors, options)
    first_step = learner.resume(out)
    started, meter = time.monotonic(), _Meter()
    bar = tqdm(_prefetch(draw, options, first_step), total=options.steps, initial=first_step, unit="step")
    for step, batch in enumerate(bar, start=first_step):
        loss, accuracy = learner.step(step, batch)
        if not math.isfinite(loss):
            raise AvolError(
                f"{out}: the loss is no longer a number at step {step}; lower --learning-rate. The last checkpoint is "
                "good."
            )
        meter.add(loss, accuracy)
        if (step + 1) % options.log_every == 0:
            record = meter.record(step + 1, learning_rate_at(step, options), time.monotonic() - started)
            _append_line(out / "log.jsonl", json.dumps(record))
            bar.set_postfix(loss=f"{record['loss']:.3f}", accuracy=f"{record['accuracy']:.3f}")
        if (step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps:
            learner.save(step + 1, out)
    network.eval()
    return max(first_step, options.steps)


def learning_rate_at(step: int, options: TrainingOptions) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    warmup = min(1.0, (step + 1) / options.warmup_steps)
    progress = min(1.0, step / options.steps)
    return options.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))


def _prefetch(draw: DrawBatch, options: TrainingOptions, first_step: int) -> Iterator[Batch]:
    """Batches in order, two ahead, made in a thread (resizing and transforms release the interpreter lock)."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [
            pool.submit(draw, np.random.default_rng([options.seed, step]))
            for step in range(first_step, min(first_step + 2, options.steps))
        ]
        for step in range(first_step, options.steps):
            batch = ahead.pop(0).result()
            if step + 2 < options.steps:
                ahead.append(pool.submit(draw, np.random.default_rng([options.seed, step + 2])))
            yield batch


class _Learner:
    """Network, anchors and optimizer: one step, and what is kept between runs."""

    def __init__(self, network: AvolNet, anchors: ClassAnchors | None, options: TrainingOptions) -> None:
        self.network, self.anchors, self.options = network, anchors, options
        parameters = [*network.parameters(), *(anchors.parameters() if anchors is not None else ())]
        # Weight decay for kernels and matrices alone; norms, and the head's scale and bias, find their own size.
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate)

    def step(self, step: int, batch: Batch) -> tuple[float, float]:
        """Learn from one batch; gives the loss of the pairs and their balanced accuracy.

        Where the loss or its gradient is no longer a number, nothing is learnt and the loss given is NaN.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.options)
        matches, known = torch.from_numpy(batch.matches), torch.from_numpy(batch.known)
        grid, vector = self._embed(batch)
        logits = self.network.head.all_pairs(grid, vector)
        pair_loss = total = correspondence_loss(logits, matches, known=known)
        if self.anchors is not None:
            weight = self.options.anchor_weight * (1 - 0.8 * step / self.options.steps)
            anchor_loss = self.anchors.loss(
                self.network.head, grid, vector, _tensors(batch.seen), _tensors(batch.heard)
            )
            total = (1 - weight) * pair_loss + weight * anchor_loss
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        gradient_norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        if not math.isfinite(total.item() + gradient_norm.item()):
            return math.nan, math.nan
        self.optimizer.step()
        scores = logits.detach().amax(dim=(2, 3))
        right_true = (scores[matches & known] > 0).float().mean()
        right_false = (scores[~matches & known] <= 0).float().mean()
        return pair_loss.item(), (0.5 * (right_true + right_false)).item()

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Grids and vectors; spectrogram and head stay in float32 whatever the towers compute in."""
        frames, columns = torch.from_numpy(batch.frames), self.network.spectrogram(torch.from_numpy(batch.samples))
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            grid, vector = self.network.frame_tower(frames), self.network.audio_tower(columns)
        return grid.float(), vector.float()

    def resume(self, out: Path) -> int:
        """Take up the run in ``out``, if there is one; gives the number of steps already made."""
        path = out / "state.pt"
        if not path.is_file():
            return 0
        state = _read_state(path)
        preset = self.network.spec.preset
        if state["preset"] != preset:
            raise AvolError(f"{out}: holds a run of {state['preset']}, not of {preset}; choose another --out.")
        stored, given = state.get("training", {}), self.network.spec.training
        # More steps go on with the same run; anything else that differs would be another one.
        if wrong := sorted(key for key in stored.keys() & given.keys() if key != "steps" and stored[key] != given[key]):
            raise AvolError(f"{out}: holds a run with other {', '.join(wrong)}; choose another --out.")
        try:
            self.network.load_state_dict(state["network"])
            if self.anchors is not None:
                self.anchors.load_state_dict(state["anchors"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError):
            # The anchors are one for each class, so other material shows here.
            raise AvolError(f"{out}: holds a run on other classes; choose another --out.") from None
        return int(state["step"])

    def save(self, step: int, out: Path) -> None:
        """One file holds all that the next run needs, so that no kill can leave two halves of different steps."""
        state = {
            "step": step,
            "preset": self.network.spec.preset,
            "training": self.network.spec.training,
            "network": self.network.state_dict(),
            "anchors": {} if self.anchors is None else self.anchors.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with AtomicOutput(out / "state.pt") as output:
            try:
                torch.save(state, output.temporary)
            except (OSError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise AvolError(f"{output.path}: cannot be written ({reason}); free space, run again.") from None
            output.commit()
        save_checkpoint(self.network, self.network.spec, out / "checkpoint.safetensors")


def _tensors(tables: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(tables[0]), torch.from_numpy(tables[1])


def _read_state(path: Path) -> dict[str, Any]:
    """What :meth:`_Learner.save` wrote."""
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError, KeyError ... by kind of damage
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AvolError(f"{path}: not a readable training state ({reason}); choose another --out.") from None
    if not isinstance(state, dict) or not {"step", "preset", "network", "anchors", "optimizer"} <= state.keys():
        raise AvolError(f"{path}: not a training state of avol train; choose another --out.")
    return state


def _append_line(path: Path, line: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise write_error(path, error) from None


class _Meter:
    """Means since the last record."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def add(self, loss: float, accuracy: float) -> None:
        self.losses.append(loss)
        self.accuracies.append(accuracy)

    def record(self, step: int, learning_rate: float, seconds: float) -> dict[str, float]:
        means = {"loss": float(np.mean(self.losses)), "accuracy": float(np.mean(self.accuracies))}
        self._clear()
        return {"step": step, **means, "learning_rate": learning_rate, "seconds": round(seconds, 1)}
