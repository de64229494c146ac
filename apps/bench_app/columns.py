"""The columns that trtexec prints: throughput, and how long each phase of a call takes."""

from __future__ import annotations

from typing import Any

from avol.apps.bench_app.scenarios import Pairs
from avol.apps.bench_app.timing import Effort, milliseconds, repeat
from avol.runtime.backends.backend import Backend
from avol.runtime.backends.phases import PHASES, Phases


def measure_columns(backend: Backend, pairs: Pairs, batch: int, effort: Effort) -> dict[str, Any]:
    """Time calls of one batch, from arrays in memory to maps in memory, and their phases.

    Args:
        backend: what is measured.
        pairs: to run on.
        batch: pairs in a call.
        effort: how long the calls are timed; their phases are timed on as many calls once more, with the host waiting
            for the device after each, if there is a device.

    Returns:
        ``runs``, ``pairs_per_second``, ``latency_milliseconds`` (the whole call) and one table each for enqueue, h2d,
        compute and d2h, None for what the backend does not have or cannot tell.
    """
    times = repeat(lambda number: backend.localise_samples(*pairs.part(number, batch)), effort)
    # Without a device a call is nothing but computing: the same calls say both.
    phases = _phases(backend, pairs, batch, len(times)) if backend.on_device else [Phases(compute=t) for t in times]
    return {
        "runs": len(times),
        "pairs_per_second": round(batch * len(times) / sum(times), 2),
        "latency_milliseconds": milliseconds(times),
        **{f"{name}_milliseconds": _column(phases, name) for name in PHASES},
    }


def _phases(backend: Backend, pairs: Pairs, batch: int, runs: int) -> list[Phases]:
    return [backend.measure_phases(*pairs.part(number, batch)) for number in range(runs)]


def _column(phases: list[Phases], name: str) -> dict[str, float] | None:
    values = [getattr(each, name) for each in phases]
    return None if None in values else milliseconds(values)
