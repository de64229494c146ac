"""ONNX Runtime on the CPU."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import Arrays, Backend
from avol.runtime.backends.contract import GRAPHS, TENSORS, choose_precision, empty_outputs, graph_path
from avol.runtime.backends.onnx_sessions import import_onnxruntime, open_session, running_grid
from avol.runtime.model_folder import read_spec

# Instructions that multiply bytes several times as fast as floats, as Linux names them (x86, then ARM).
INT8_INSTRUCTIONS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})

_BRANCHES = (("frame",), ("spectrogram", "audio", "waveform-audio"))  # neither waits for the other


class CpuBackend(Backend):
    """The graphs of one model folder on the CPU provider.

    A session computes on the thread that calls it: threads of its own would fight with decoder and encoder for the
    cores, and batches gain nothing from them. Rows of a batch, and the two towers of one row, go to several threads.

    Args:
        folder: as ``avol export`` writes it.
        graphs: the roles to open at once; others are opened when they are first used.
        precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.
        threads: None: as many as this process has cores.

    Raises:
        AvolError: no model there, a corrupt or missing graph, graphs of different models, or no ONNX Runtime.
    """

    name, device = "onnxruntime-cpu", "cpu"

    def __init__(
        self,
        folder: Path,
        *,
        graphs: tuple[str, ...] = GRAPHS,
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        spec = read_spec(folder)
        preferred = ("int8", "fp32") if has_int8_instructions() else ("fp32",)
        super().__init__(folder, spec, choose_precision(folder, precision, preferred))
        self._ort = import_onnxruntime()
        self._threads = max(1, available_cores() if threads is None else threads)
        self.provider = f"ONNX Runtime {self._ort.__version__}, {_threads_in_words(self._threads)}"
        # It starts a thread when there is something to do for it.
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="avol-cpu")
        # Side by side: reading a graph and optimising it is what a run waits for before its first analysis.
        self._sessions = dict(zip(graphs, self._pool.map(self._open, graphs), strict=True))
        if "audio" in self._sessions:
            self.running = running_grid(self._sessions["audio"], graph_path(folder, "audio", self.precision))

    def compute(self, roles: tuple[str, ...], inputs: Arrays, outputs: tuple[str, ...]) -> Arrays:
        """See :meth:`Backend.compute`."""
        for role in roles:
            if role not in self._sessions:
                self._sessions[role] = self._open(role)
        rows = len(next(iter(inputs.values())))
        if rows == 0:
            return empty_outputs(outputs, 0, self.spec)
        count = min(rows, self._threads)
        if self._threads == 1 or (count == 1 and len(roles) == 1):
            return self._run(roles, inputs, outputs)
        edges = np.linspace(0, rows, count + 1).astype(int)
        parts = [{name: value[a:b] for name, value in inputs.items()} for a, b in itertools.pairwise(edges)]
        found = self._run_parts(roles, parts, outputs)
        return {name: np.concatenate([part[name] for part in found]) for name in outputs}

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        self._pool.shutdown()
        self._sessions.clear()

    def _run_parts(self, roles: tuple[str, ...], parts: list[Arrays], outputs: tuple[str, ...]) -> list[Arrays]:
        branches = [branch for names in _BRANCHES if (branch := tuple(role for role in roles if role in names))]
        if len(parts) >= self._threads or not branches:
            return self._map([partial(self._run, roles, part, outputs) for part in parts])
        # Fewer rows than cores: what the head waits for is computed side by side.
        found = self._map(
            [partial(self._run, branch, part, TENSORS[branch[-1]][1]) for part in parts for branch in branches]
        )
        rest = tuple(role for role in roles if not any(role in branch for branch in branches))
        results = []
        for number, part in enumerate(parts):
            made = found[number * len(branches) : (number + 1) * len(branches)]
            known = dict(itertools.chain(part.items(), *(one.items() for one in made)))
            results.append(self._run(rest, known, outputs))
        return results

    def _map(self, tasks: list[Callable[[], Arrays]]) -> list[Arrays]:
        """Results of tasks in order; the calling thread takes its share."""
        futures = [self._pool.submit(task) for task in tasks[1:]]
        first = tasks[0]()
        return [first, *(future.result() for future in futures)]

    def _run(self, roles: tuple[str, ...], known: Arrays, outputs: tuple[str, ...]) -> Arrays:
        for role in roles:
            names, made = TENSORS[role]
            values: list[NDArray[Any]] = self._sessions[role].run(list(made), {name: known[name] for name in names})
            known = {**known, **dict(zip(made, values, strict=True))}
        return {name: known[name] for name in outputs}

    def _open(self, role: str) -> Any:  # noqa: ANN401 (a session)
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return open_session(self.folder, role, self.precision, self.spec, options, ["CPUExecutionProvider"])


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_int8_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether INT8 is faster than float32 here, as far as Linux tells."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in text.splitlines() if line.startswith(("flags", "Features")))
    return bool(INT8_INSTRUCTIONS.intersection(next(flags, ())))


def _threads_in_words(threads: int) -> str:
    return f"{threads} thread" if threads == 1 else f"{threads} threads"
