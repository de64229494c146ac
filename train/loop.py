"""The training loop: batches in, checkpoints out. Any step can be the last; the next run goes on from there."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE
from avol.train.anchors import ClassAnchors
from avol.train.checkpoint import holds_weights_of
from avol.train.data.batch import BatchAt, TensorBatch
from avol.train.learner import STATE_FILE, Learner
from avol.train.network import TwoTowerNetwork
from avol.train.parallel import Team
from avol.train.recipes import TrainingOptions, learning_rate_at
from avol.train.run_log import Meter, RunLog

CPU = torch.device("cpu")
ONE_REQUEST_SECONDS = 1.0


def train(
    network: TwoTowerNetwork,
    batch_at: BatchAt,
    options: TrainingOptions,
    out: Path,
    *,
    anchors: ClassAnchors | None = None,
    validation: Sequence[TensorBatch] = (),
    device: torch.device = CPU,
    team: Team | None = None,
) -> int:
    """Train ``network`` in place; writes ``checkpoint.safetensors``, ``state.pt``, ``log.jsonl``, ``tensorboard/``.

    Args:
        network: on the CPU; moves to ``device``.
        batch_at: the batch of a step, already on ``device``, the same in every process.
        options: length and speed.
        out: folder of the run; a run in it goes on.
        anchors: one vector per class, for batches that know of classes.
        validation: fixed batches that nothing is learnt from.
        device: where to learn.
        team: the processes that learn together; alone if None.

    Returns:
        The steps that the network has made in all.

    Raises:
        AvolError: loss or gradient is no longer a number (the last good checkpoint stays), ``out`` holds another run,
            or cannot be written.
    """
    team = team or Team()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvolError(f"{out}: cannot be made ({error.strerror}); choose another --out.") from None
    learner = Learner(network, anchors, options, device, team)
    first_step = learner.resume(out)
    team.wait()  # until all have read the state, before one writes the next
    if first_step >= options.steps:
        # The run may have been cut off between its state and its checkpoint; one that was calibrated since stays.
        if team.leads and not holds_weights_of(out / CHECKPOINT_FILE, network):
            learner.save_checkpoint(first_step, out)
        network.eval()
        return first_step
    with (
        RunLog(out, first_step, active=team.leads) as log,
        Prefetch(batch_at, options.drawing_threads) as prefetch,
        _StopRequest() as stop,
    ):
        _learn(learner, prefetch, range(first_step, options.steps), validation, out, log, stop)
    network.eval()
    return options.steps


def _learn(
    learner: Learner,
    prefetch: Prefetch,
    steps: range,
    validation: Sequence[TensorBatch],
    out: Path,
    log: RunLog,
    stop: _StopRequest,
) -> None:
    options, meter = learner.options, Meter()
    with tqdm(total=options.steps, initial=steps.start, unit="step", disable=not learner.team.leads) as bar:
        for step, batch in zip(steps, prefetch.batches(steps), strict=True):
            result, made, last = learner.step(step, batch), step + 1, step + 1 == options.steps
            stopping = learner.team.any(stop.asked, learner.device)  # all at the same step
            saving = made % options.checkpoint_every == 0 or last or stopping
            if not math.isfinite(result.loss) or (saving and not learner.is_finite()):
                raise _no_number(out, step)
            meter.add(result, pairs=len(batch.frames))
            if made % options.log_every == 0 or last:
                record = meter.record(learning_rate_at(step, options), waited_seconds=prefetch.take_waited_seconds())
                log.add(made, record | options.epoch_at(made))
                bar.set_postfix(_shown(record), refresh=False)
            bar.update()
            if validation and (made % options.validate_every == 0 or last):
                log.add(made, learner.validate(validation))
                meter.restart()
            if saving and learner.team.leads:
                learner.save(made, out)
                log.add_pictures(made, batch.frames, result.logits, batch.matches)
                meter.restart()
            if stopping and not last:
                raise KeyboardInterrupt


def _no_number(out: Path, step: int) -> AvolError:
    kept = "The last checkpoint is good" if (out / STATE_FILE).is_file() else "No checkpoint was written before"
    return AvolError(f"{out}: the loss is no longer a number at step {step}; lower --learning-rate. {kept}.")


def _shown(record: dict[str, float]) -> dict[str, str]:
    """For the progress line, which shows steps and the time left itself."""
    shown = {name: f"{record[name]:.3f}" for name in ("loss", "accuracy")}
    return shown | {"pairs/s": f"{record['pairs_per_second']:.0f}"}


class _StopRequest:
    """Ctrl-C or a request to end lets the step be finished and saved; a second one ends the program at once.

    Under ``torchrun`` one Ctrl-C arrives twice, from the terminal and from the launcher: what comes within a second is
    the same one.
    """

    def __init__(self) -> None:
        self.asked, self.since = False, 0.0
        self.signals = (signal.SIGINT, signal.SIGTERM)
        self.active = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> _StopRequest:
        if self.active:
            self.before = [signal.signal(number, self._ask) for number in self.signals]
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            for number, handler in zip(self.signals, self.before, strict=True):
                signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self.asked and now - self.since > ONE_REQUEST_SECONDS:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.since = True, now


class Prefetch:
    """Batches in order, made ahead in threads (resizing and transforms release the interpreter lock)."""

    def __init__(self, batch_at: Callable[[int], TensorBatch], threads: int) -> None:
        self.batch_at, self.ahead = batch_at, threads + 1
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="draw")
        self.waited_seconds = 0.0

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def batches(self, steps: range) -> Iterator[TensorBatch]:
        """The batches of these steps."""
        waiting: list[Future[TensorBatch]] = [self.pool.submit(self.batch_at, step) for step in steps[: self.ahead]]
        for step in steps:
            started = time.perf_counter()
            batch = waiting.pop(0).result()
            self.waited_seconds += time.perf_counter() - started
            if step + self.ahead < steps.stop:
                waiting.append(self.pool.submit(self.batch_at, step + self.ahead))
            yield batch

    def take_waited_seconds(self) -> float:
        """Seconds that learning stood still for want of a batch, since the last call."""
        waited, self.waited_seconds = self.waited_seconds, 0.0
        return waited
