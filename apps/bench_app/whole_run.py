"""A whole ``avol-run``: its stages, real-time factor and memory, and how long it takes to the first inference."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from avol.apps.bench_app.child import FIRST_INFERENCE
from avol.apps.bench_app.configurations import Configuration
from avol.runtime.errors import AvolError
from avol.runtime.stage_times import STAGES

RUNS = 3  # of which the one of median length is told
STARTS = 5
PER_ANALYSIS = ("shrink", "spectrogram", "towers")  # the other stages meet every frame


def measure_whole_run(model: Path, video: Path, configuration: Configuration) -> dict[str, Any]:
    """Run over the video several times, each in a fresh process.

    Raises:
        AvolError: the video cannot be run.
    """
    found = sorted(
        (_answer("run", model, video, configuration) for _ in range(RUNS)), key=lambda run: run["elapsed_seconds"]
    )
    return run_record(found[RUNS // 2], video.name)


def run_record(run: dict[str, Any], video: str) -> dict[str, Any]:
    """What a process found, in the report's words."""
    stages: dict[str, float | None] = {}
    for stage in STAGES:
        count = run["analysed" if stage in PER_ANALYSIS else "frames"]
        seconds = run["stage_seconds"].get(stage)
        stages[stage] = None if seconds is None or not count else round(1e3 * seconds / count, 4)
    elapsed, duration = run["elapsed_seconds"], run["duration_seconds"]
    return {
        "video": video,
        "duration_seconds": round(duration, 3),
        "elapsed_seconds": round(elapsed, 3),
        "real_time_factor": round(elapsed / duration, 4) if duration else None,
        "frames": run["frames"],
        "analysed": run["analysed"],
        "stages_milliseconds": stages,
        "peak_memory_bytes": run["peak_memory_bytes"],
    }


def measure_start_up(model: Path, video: Path, configuration: Configuration) -> dict[str, Any]:
    """Seconds from starting the process to the end of the first inference, in fresh processes; the first is to warm up.

    Raises:
        AvolError: the video cannot be run.
    """
    seconds = [_start(model, video, configuration) for _ in range(1 + STARTS)][1:]
    return {"median_seconds": round(statistics.median(seconds), 4), "seconds": [round(value, 4) for value in seconds]}


def _start(model: Path, video: Path, configuration: Configuration) -> float:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = _command("start-up", model, video, configuration, folder)
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                line = process.stdout.readline()
                taken = time.perf_counter() - started
                if line.strip() != FIRST_INFERENCE:
                    raise AvolError(_last_line(process.stderr.read()) or f"{video}: nothing in it was analysed.")
            except BaseException:
                process.kill()
                raise
    return taken


def _answer(what: str, model: Path, video: Path, configuration: Configuration) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = _command(what, model, video, configuration, folder)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 1 and done.stderr.count("\n") == 1:
        raise AvolError(done.stderr)
    if done.returncode:
        raise RuntimeError(f"a run of its own failed with status {done.returncode}:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(_last_line(done.stdout))
    return answer


def _command(what: str, model: Path, video: Path, configuration: Configuration, folder: str) -> list[str]:
    task = {
        "what": what,
        "model": str(model.absolute()),
        "video": str(video.absolute()),  # one that starts with a dash is no option
        "device": configuration.device,
        "precision": configuration.precision,
        "folder": folder,
    }
    return [sys.executable, "-m", "avol.apps.bench_app.child", json.dumps(task)]


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
