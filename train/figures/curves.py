"""Curves of a run: read from its log, smoothed, and where learning turned into overfitting."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError

LOG_FILE = "log.jsonl"
Values = NDArray[np.float64]
SMOOTHED_SHARE = 0.05  # of a curve, that one moving average covers
LEAST_RISE = 0.02  # of a curve's span: less than that above its minimum is no overfitting
LEAST_SHARE = 0.001  # of the value itself: less is rounding
LEAST_POINTS = 5  # of a validation curve that is judged


@dataclass(frozen=True)
class Curve:
    """Values over steps, in order of steps."""

    steps: Values
    values: Values

    def smoothed(self, window: int | None = None) -> Values:
        """The moving average; ``window`` in points, by default a twentieth of the curve."""
        return moving_average(self.values, window or default_window(len(self.values)))


@dataclass(frozen=True)
class RunHistory:
    """What the log of a run holds, by name of the value (``loss``, ``validation_accuracy`` ...)."""

    name: str
    curves: dict[str, Curve]

    def curve(self, name: str) -> Curve | None:
        """The curve of one value; None if the run did not log it."""
        return self.curves.get(name)


def default_window(points: int) -> int:
    """Points under a moving average: a twentieth of them, but three at least, and an odd number."""
    return max(3, round(points * SMOOTHED_SHARE)) | 1


def moving_average(values: Values, window: int) -> Values:
    """Centred moving average over ``window`` points; at the ends over those of them that there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    position = np.arange(len(values))
    first = np.maximum(position - window // 2, 0)
    end = np.minimum(position + window // 2 + 1, len(values))
    averages: Values = (sums[end] - sums[first]) / (end - first)
    return averages


def overfitting_step(history: RunHistory, window: int | None = None) -> float | None:
    """The step from which validation gets worse while training goes on getting better.

    That is where the smoothed validation loss is lowest (without one: the accuracy highest), if after it the validation
    curve loses more than its own noise and the training curve of the same kind still gains; and if before it the
    validation curve had gained as much, for a run that stays at chance has nothing to lose.

    Returns:
        None without a validation curve, with too short a one, or without overfitting.
    """
    for kind, sign in (("loss", 1.0), ("accuracy", -1.0)):
        validation, training = history.curve(f"validation_{kind}"), history.curve(kind)
        if validation is None:
            continue
        if training is None or len(validation.values) < LEAST_POINTS:
            return None
        smooth = sign * validation.smoothed(window)
        best = int(np.argmin(smooth))
        noise = float(np.std(sign * validation.values - smooth))
        rise = float(smooth[-1] - smooth[best])
        step = float(validation.steps[best])
        trained = sign * np.interp([step, training.steps[-1]], training.steps, training.smoothed(window))
        least = max(noise, LEAST_RISE * float(np.ptp(smooth)), LEAST_SHARE * abs(float(smooth[best])))
        fall = float(smooth[0] - smooth[best])
        overfits = min(rise, fall) > least and trained[1] < trained[0]
        return step if overfits else None
    return None


def read_history(run: Path) -> RunHistory:
    """Read the log of a run.

    A value that is there more than once for a step counts as it was written last, after the run went on from a
    checkpoint. A line that was cut off is left out.

    Args:
        run: the folder of a run, or its ``log.jsonl``.

    Raises:
        AvolError: there is no log, or nothing in it.
    """
    path = run / LOG_FILE if run.is_dir() else run
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        what = f"holds no {LOG_FILE}" if run.is_dir() else "no such run"
        raise AvolError(f"{run}: {what}; name the folder of a run of avol train.") from None
    values: dict[str, dict[float, float]] = {}
    for line in text.splitlines():
        record = _record(line)
        for name in record.keys() - {"step"}:
            values.setdefault(name, {})[record["step"]] = record[name]
    if not {"loss", "accuracy"} & values.keys():
        raise AvolError(f"{path}: no step of a run in it; wait for the first lines, or name another run.")
    name = path.parent.resolve().name if path.name == LOG_FILE else path.stem
    return RunHistory(name, {key: _curve(by_step) for key, by_step in values.items()})


def _record(line: str) -> dict[str, float]:
    """The finite numbers of one line; nothing for a line that is no record of a step."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    numbers = {
        name: float(value)
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return numbers if "step" in numbers else {}


def _curve(by_step: dict[float, float]) -> Curve:
    steps = sorted(by_step)
    return Curve(np.array(steps, np.float64), np.array([by_step[step] for step in steps], np.float64))
