"""What runs in a process of its own: a start up to the first inference, or a whole run with its stages and its memory.

    python -m avol.apps.bench_app.child '{"what": "run", ...}'

A process that has measured before holds memory and warm code that a user's run does not have.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

FIRST_INFERENCE = "first inference"


def main() -> int:
    """Do what the only argument says; standard output has the answer in its last line."""
    task = json.loads(sys.argv[1])
    from avol.runtime.errors import AvolError

    try:
        if task["what"] == "start-up":
            return start_up(task)
        print(json.dumps(whole_run(task)))
    except AvolError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def start_up(task: dict[str, Any]) -> int:
    """``avol-run`` as it is, which ends here when it has localised for the first time."""
    from avol.apps.cli import main_run
    from avol.runtime.stage_times import StageTimes

    def ended(stage: str) -> None:
        if stage == "towers":
            os.write(sys.__stdout__.fileno(), f"{FIRST_INFERENCE}\n".encode())  # type: ignore[union-attr]
            os._exit(0)  # what is not finished lies in a folder that is removed

    with StageTimes(ended=ended):
        command = [task["video"], "--quiet", "--output-dir", task["folder"], "--model", task["model"]]
        return main_run([*command, "--device", task["device"], "--precision", task["precision"]])


def whole_run(task: dict[str, Any]) -> dict[str, Any]:
    """A run with its default output, timed stage by stage."""
    from avol.runtime.backends import open_backend
    from avol.runtime.pipeline import RunOptions, run_on_video
    from avol.runtime.stage_times import StageTimes
    from avol.runtime.system import AvolNetSystem

    folder = Path(task["folder"])
    options = RunOptions(
        video=Path(task["video"]), timeline_out=folder / "bench.avol.json", video_out=folder / "bench.avol.mp4"
    )
    with open_backend(Path(task["model"]), task["device"], task["precision"]) as backend, StageTimes() as times:
        summary = run_on_video(options, AvolNetSystem(backend))
    return {
        "frames": summary.frames,
        "analysed": summary.analysed,
        "duration_seconds": summary.duration_seconds,
        "elapsed_seconds": summary.elapsed_seconds,
        "stage_seconds": times.seconds,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The most that this process has had in memory."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        # On Linux this would count what the parent had when it started this process; there is the file above.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
