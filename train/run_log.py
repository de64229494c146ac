"""What a run tells: ``log.jsonl``, and the same with pictures for TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avol.runtime.atomic import AtomicOutput, write_error
from avol.train.board import Board

if TYPE_CHECKING:
    from avol.train.learner import StepResult

LOG_FILE = "log.jsonl"
PICTURES = 8  # shown at a time


class RunLog:
    """Lines of ``log.jsonl``; those of steps that are made again after an interruption are dropped first.

    Raises:
        AvolError: the log cannot be written.
    """

    def __init__(self, out: Path, first_step: int, *, active: bool = True) -> None:
        self.path = out / LOG_FILE
        self.board: Board | None = None
        if active:
            _drop_lines_after(self.path, first_step)
            self.board = Board(out, first_step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self.board is not None:
            self.board.close()

    def add(self, step: int, values: dict[str, float]) -> None:
        """One record of the step."""
        if self.board is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:
            raise write_error(self.path, error) from None
        self.board.add_scalars(step, values)

    def add_pictures(self, step: int, frames: Tensor, logits: Tensor, matches: Tensor) -> None:
        """Pictures of a batch, each with the map of a sound that belongs to it, for TensorBoard."""
        if self.board is None:
            return
        chosen = torch.nonzero(matches.any(dim=1)).flatten()[:PICTURES]
        if len(chosen) == 0:
            return
        sounds = matches[chosen].int().argmax(dim=1)
        maps = logits[chosen, sounds].sigmoid().float().cpu().numpy()
        pictures = [_overlay(frame, found) for frame, found in zip(frames[chosen].cpu().numpy(), maps, strict=True)]
        self.board.add_pictures(step, "true pairs", np.stack(pictures))


def _overlay(frame: NDArray[np.uint8], found: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The map over its picture: uint8 ``H x W x 3``."""
    heat = cv2.resize(found, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)
    levels = np.asarray(heat * 255, dtype=np.uint8)
    colours = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO))[:, :, ::-1]
    return np.asarray(frame * 0.5 + colours * 0.5, dtype=np.uint8)


def _drop_lines_after(path: Path, step: int) -> None:
    """Forget what was logged of steps later than ``step``, and a line that was cut off."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    if kept == lines:
        return
    with AtomicOutput(path) as output:
        try:
            output.temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        except OSError as error:
            raise write_error(path, error) from None
        output.commit()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class Meter:
    """Means since the last record, and how fast it went."""

    def __init__(self) -> None:
        self.restart()
        self._clear()

    def restart(self) -> None:
        """Time that was not spent on learning is not counted."""
        self.since = time.perf_counter()

    def _clear(self) -> None:
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.pairs, self.seconds = 0, 0.0

    def add(self, result: StepResult, *, pairs: int) -> None:
        """Count one step."""
        self.losses.append(result.loss)
        self.accuracies.append(result.accuracy)
        now = time.perf_counter()
        self.pairs, self.seconds, self.since = self.pairs + pairs, self.seconds + now - self.since, now

    def record(self, learning_rate: float, *, waited_seconds: float) -> dict[str, float]:
        """Means, pairs a second, and the share of the time that was spent waiting for batches.

        A pair is a picture with its sound; that a batch holds all pictures against all sounds makes it no more pairs.
        """
        record = {
            "loss": float(np.mean(self.losses)),
            "accuracy": float(np.mean(self.accuracies)),
            "learning_rate": learning_rate,
            "seconds": round(self.seconds, 3),
            "pairs_per_second": round(self.pairs / self.seconds, 1),
            "waiting_share": round(waited_seconds / self.seconds, 4),
        }
        self._clear()
        return record
