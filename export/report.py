"""The table at the end of an export: every graph, run from the disk on real input."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from avol.export.compare import Outputs, compare, run_system
from avol.export.job import Exported
from avol.export.moments import Moments
from avol.export.systems import TorchSystem, open_session, stored_precision
from avol.runtime.spec import GRAPH_KEY

FRAMES = 96  # of those that the graphs were judged on
BATCH = 16
TIMED_RUNS, WARM_UP_RUNS = 20, 3
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """One graph.

    Attributes:
        path: of the file.
        precision: of its towers.
        size_bytes: of the file.
        difference: largest to torch, relative to the largest value where that exceeds one.
        agreement: share of frames above the threshold with the same peak, and their number; only of graphs with maps.
        milliseconds: median of one frame, or one second of sound, or both.
    """

    path: Path
    precision: str
    size_bytes: int
    difference: float
    agreement: tuple[float, int] | None
    milliseconds: float

    def __str__(self) -> str:
        share = ""
        if self.agreement is not None:
            same, count = self.agreement
            share = f"{100 * same:.1f} % of {count}" if count else "- of 0"
        return (
            f"{self.path.name:<26}{self.precision:<6}{self.size_bytes / 1e6:>7.2f} MB{self.difference:>12.1e}"
            f"{share:>18}{self.milliseconds:>13.2f} ms"
        )


HEADING = f"{'file':<26}{'':<6}{'size':>10}{'to torch':>12}{'same peak':>18}{'time, batch 1':>16}"


def measure(exported: Exported) -> list[Row]:
    """Run every graph that was written, from its file, on some of the frames that it was judged on."""
    every = max(1, len(exported.judged_on) // FRAMES)
    whole = exported.judged_on
    moments = Moments(whole.frames[::every], whole.own[::every], None, whole.description)
    reference = run_system(TorchSystem(exported.network, "torch"), moments)
    values = _values(exported, moments, reference)
    rows = []
    for path in (path for path in exported.files if path.suffix == ".onnx"):
        role = next(i.value for i in exported.models[path.name].metadata_props if i.key == GRAPH_KEY)
        session = open_session(path, role, exported.spec)
        inputs = {item.name: values[item.name] for item in session.get_inputs()}
        found = dict(zip([item.name for item in session.get_outputs()], _run(session, inputs), strict=True))
        agreement = None
        if role == "pair":
            other = Outputs(reference.grid, reference.vector, found["map"], found["score"], None)
            judged = compare(reference, other, threshold=exported.spec.threshold)
            agreement = (judged.same_peak, judged.sounding)
        difference = max(
            float(np.abs(found[name] - values[name]).max() / max(1.0, np.abs(values[name]).max())) for name in found
        )
        rows.append(
            Row(path, stored_precision(session), path.stat().st_size, difference, agreement, _time(session, inputs))
        )
    return rows


def _values(exported: Exported, moments: Moments, reference: Outputs) -> Arrays:
    """A value for every tensor, from the network in torch."""
    with torch.no_grad():
        columns = exported.network.spectrogram(torch.from_numpy(moments.own)).numpy()
    return {
        "frames": moments.frames,
        "samples": moments.own,
        "columns": columns,
        "grid": reference.grid,
        "vector": reference.vector,
        "map": reference.map,
        "score": reference.score,
    }


def _run(session: onnxruntime.InferenceSession, inputs: Arrays) -> list[NDArray[Any]]:
    count = len(next(iter(inputs.values())))
    parts = [
        session.run(None, {name: value[start : start + BATCH] for name, value in inputs.items()})
        for start in range(0, count, BATCH)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _time(session: onnxruntime.InferenceSession, inputs: Arrays) -> float:
    one = {name: value[:1] for name, value in inputs.items()}
    seconds = []
    for _ in range(WARM_UP_RUNS + TIMED_RUNS):
        started = time.perf_counter()
        session.run(None, one)
        seconds.append(time.perf_counter() - started)
    return 1e3 * float(np.median(seconds[WARM_UP_RUNS:]))
