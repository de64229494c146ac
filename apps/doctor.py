"""``avol doctor``: what is installed, what works, and how to mend what does not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avol.runtime.backends.diagnosis import Diagnosis


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol doctor``."""
    parser.epilog = "The exit status is 1 when no model can be run here."
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there as JSON as well")


def run(arguments: argparse.Namespace) -> int:
    """Examine and print; gives the exit code."""
    from avol.runtime.atomic import AtomicOutput

    output = None if arguments.json is None else AtomicOutput(arguments.json)  # a mistake shows before the work
    diagnosis, report = _examine()
    for line in _lines(report):
        print(line)
    if output is not None:
        _write(output, report)
    return 0 if diagnosis is not None and diagnosis.can_run else 1


def _examine() -> tuple[Diagnosis | None, dict[str, Any]]:
    """The findings; also where NumPy itself is missing, which everything else needs."""
    from avol import __version__

    try:
        from avol.runtime.backends.diagnosis import diagnose
    except ImportError as error:
        fact = f"{error.name or 'a package'} cannot be imported: {str(error).splitlines()[0]}"
        problem = {"fact": fact, "fix": "pip install '.[cpu]' in avol's folder", "fatal": True}
        return None, {"avol": __version__, "problems": [problem], "can_run": False}
    diagnosis = diagnose()
    return diagnosis, {"avol": __version__, **_record(diagnosis)}


def _record(diagnosis: Diagnosis) -> dict[str, Any]:
    import dataclasses

    record = dataclasses.asdict(diagnosis)
    return {**record, "encoders": _encoders(), "can_run": diagnosis.can_run}


def _encoders() -> dict[str, str]:
    """By name: whether it opens here, or why not; nothing where PyAV does not work, which is a problem of its own."""
    try:
        from avol.runtime.media.encoders import ENCODERS, encoder_problem
    except ImportError:
        return {}
    return {codec: encoder_problem(codec) or "works" for codec in ENCODERS}


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [f"avol {report['avol']}" + (f", Python {report['python']}" if "python" in report else "")]
    lines += _table("packages", {name: version or "-" for name, version in report.get("packages", {}).items()})
    if "gpu" in report:
        lines += _table("GPU", _gpu(report["gpu"]))
    lines += _table("ONNX Runtime", report.get("providers", {}))
    lines += _table("TensorRT", report.get("engines", {}))
    lines += _table("encoders", report.get("encoders", {}))
    for number, problem in enumerate(report["problems"], 1):
        lines += ["", f"problem {number}: {problem['fact']}", f"    fix: {problem['fix']}"]
    verdict = "A model can be run here." if report["can_run"] else "No model can be run here."
    return [*lines, "", verdict]


def _gpu(gpu: dict[str, str | None] | str) -> dict[str, str]:
    if isinstance(gpu, str):
        return {"none": gpu}
    return {
        "name": str(gpu["name"]),
        "compute capability": str(gpu["compute_capability"]),
        "driver": gpu["driver_version"] or "-",
        "CUDA, at most": str(gpu["cuda_version"]),
    }


def _table(title: str, rows: dict[str, str]) -> list[str]:
    return ["", title, *(f"    {name:<26}{value}" for name, value in rows.items())] if rows else []


def _write(output: Any, report: dict[str, Any]) -> None:  # noqa: ANN401 (an AtomicOutput, whose module is not light)
    import json

    from avol.runtime.atomic import write_error

    with output:
        try:
            output.temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise write_error(output.path, error) from None
        output.commit()
