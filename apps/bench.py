"""``avol bench``: how fast a model runs on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avol.runtime.onnx_backend import OnnxBackend

WARM_UP_RUNS = 3
QUANTILES = {"median": 0.5, "p90": 0.9, "min": 0.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol bench``."""
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="folder of an exported model (default: the bundled one)"
    )
    parser.add_argument(
        "--video", type=Path, metavar="PATH", help="video for the whole run (default: the bundled sample)"
    )
    parser.add_argument("--repeats", type=int, default=30, metavar="N", help="runs per graph (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures there as JSON as well")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; gives the exit code."""
    import json

    from avol.runtime.atomic import AtomicOutput, write_error
    from avol.runtime.model_folder import bundled_model_folder, bundled_sample
    from avol.runtime.onnx_backend import OnnxBackend

    if arguments.repeats < 1:
        raise argparse.ArgumentError(None, "--repeats must be at least 1")
    output = None if arguments.report is None else AtomicOutput(arguments.report)  # a mistake shows before the work
    with OnnxBackend(arguments.model or bundled_model_folder()) as backend:
        spec = backend.spec
        record = {
            "model": {
                "name": spec.name,
                "sha256": spec.weights_sha256,
                "backend": backend.name,
                "precision": backend.precision,
            },
            "environment": _environment(),
            "graphs_milliseconds": _time_graphs(backend, arguments.repeats),
            "run": _time_run(backend, arguments.video or bundled_sample()),
        }
    _print(record)
    if output is not None:
        with output:
            try:
                output.temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            except OSError as error:
                raise write_error(output.path, error) from None
            output.commit()
    return 0


def _time_graphs(backend: OnnxBackend, repeats: int) -> dict[str, dict[str, float]]:
    """Every graph on one frame, one window, one second of track; the first runs do not count."""
    import time

    import numpy as np

    spec, rng = backend.spec, np.random.default_rng(0)
    sound = spec.spectrogram
    inputs: dict[str, dict[str, Any]] = {
        "spectrogram": {"samples": rng.standard_normal((1, sound.clip_samples), dtype=np.float32) * np.float32(0.1)},
        "frame": {"frames": rng.integers(0, 256, (1, spec.frame_height, spec.frame_width, 3), dtype=np.uint8)},
        "audio": {"columns": rng.standard_normal((1, sound.rows, sound.columns), dtype=np.float32)},
        "head": {
            "grid": rng.standard_normal((1, spec.embedding_size, spec.grid_height, spec.grid_width), dtype=np.float32),
            "vector": rng.standard_normal((1, spec.embedding_size), dtype=np.float32),
        },
    }
    figures = {}
    for graph, values in inputs.items():
        times = []
        for _ in range(repeats + WARM_UP_RUNS):
            started = time.perf_counter()
            backend.infer(graph, **values)
            times.append(1e3 * (time.perf_counter() - started))
        kept = np.array(times[WARM_UP_RUNS:])
        figures[graph] = {name: round(float(np.quantile(kept, q)), 3) for name, q in QUANTILES.items()}
    return figures


def _time_run(backend: OnnxBackend, video: Path) -> dict[str, Any]:
    """A whole run with overlay and timeline, into a folder that is removed."""
    import tempfile

    from avol.runtime.pipeline import RunOptions, run_on_video
    from avol.runtime.system import AvolNetSystem

    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(
            video=video, timeline_out=Path(folder) / "bench.avol.json", video_out=Path(folder) / "bench.avol.mp4"
        )
        summary = run_on_video(options, AvolNetSystem(backend))
    return {
        "video": video.name,
        "duration_seconds": round(summary.duration_seconds, 3),
        "elapsed_seconds": round(summary.elapsed_seconds, 3),
        "times_real_time": round(summary.duration_seconds / summary.elapsed_seconds, 2),
        "analysed_frames": summary.analysed,
    }


def _environment() -> dict[str, Any]:
    import os
    import platform
    from importlib.metadata import version

    import onnxruntime

    found = {package: version(package) for package in ("numpy", "av", "opencv-python-headless")}
    found["onnxruntime"] = onnxruntime.__version__  # of whichever build is installed
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": cores, "python": platform.python_version(), **found}


def _processor() -> str:
    """Its name where Linux tells it, else its architecture."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _print(record: dict[str, Any]) -> None:
    model, timed, environment = record["model"], record["run"], record["environment"]
    machine = f"{environment['cores']} cores of {environment['processor']}"
    print(f"{model['name']}, {model['backend']} {model['precision']}, {machine}")
    print(f"{'graph, batch 1':<18}" + "".join(f"{name + ' ms':>12}" for name in QUANTILES))
    for graph, figures in record["graphs_milliseconds"].items():
        print(f"{graph:<18}" + "".join(f"{value:>12.3f}" for value in figures.values()))
    print(
        f"{timed['video']}: {timed['duration_seconds']:.1f} s in {timed['elapsed_seconds']:.1f} s, "
        f"{timed['times_real_time']:.1f}x real time, {timed['analysed_frames']} analysed frames"
    )
