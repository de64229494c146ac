"""Put a trained model into the package: half-precision checkpoint, graphs that running media needs, spec, INT8 towers.

``python -m avol.export.bundle runs/NAME/checkpoint.safetensors --calibration DATA [--threshold P] [--note KEY=VALUE]``
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from avol.export.calibrate import DEFAULT_METHOD
from avol.export.job import calibrate, export_model
from avol.export.onnx_files import export_checkpoint
from avol.export.ranges import RANGES_FILE
from avol.runtime.atomic import AtomicOutput, commit_all
from avol.runtime.backends.contract import TOWERS
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.runtime.onnx_backend import GRAPHS
from avol.runtime.spec import Calibration
from avol.train.checkpoint import load_checkpoint, read_checkpoint_spec, save_checkpoint


def bundle(
    checkpoint: Path,
    folder: Path,
    *,
    threshold: float,
    calibration: Calibration,
    notes: dict[str, str],
    clips: Path | None = None,
) -> None:
    """Write the model of a checkpoint into ``folder``.

    Args:
        checkpoint: made by ``avol train``.
        folder: made if missing.
        threshold, calibration: for the spec.
        notes: are added to what the spec says of the training.
        clips: whose training part INT8 is calibrated on; None: synthetic scenes and the bundled video.

    Raises:
        AvolError: no usable checkpoint or clips, or the folder cannot be written.
    """
    network = load_checkpoint(checkpoint)
    training = {**network.spec.training, **notes}
    spec = replace(network.spec, threshold=threshold, calibration=calibration, training=training)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, spec, folder / CHECKPOINT_FILE, half=True)
    export_checkpoint(folder / CHECKPOINT_FILE, folder, roles=GRAPHS)
    write_int8(folder, clips)


def write_int8(folder: Path, clips: Path | None) -> None:
    """Calibrate the model of a folder with a checkpoint, judge it, and write the ranges and the INT8 towers.

    Args:
        folder: of the model.
        clips: as for :func:`bundle`; what is judged on is not what is calibrated on.

    Raises:
        AvolError: no usable checkpoint or clips, INT8 fails its tolerances, or the folder cannot be written.
    """
    checkpoint = folder / CHECKPOINT_FILE
    network = load_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        copy = Path(shutil.copy(checkpoint, work))
        if clips is None:
            ranges = calibrate(network, None, method=DEFAULT_METHOD, report=_say)
            (copy.parent / RANGES_FILE).write_text(ranges.to_json(), encoding="utf-8")
        made = Path(work) / "made"
        exported = export_model(copy, made, precisions=("fp32", "int8"), calibration=clips, report=_say)
        for verdict in exported.verdicts:
            _say(f"{verdict.precision}: {verdict}")
            if not verdict.written:
                raise AvolError(f"{checkpoint}: INT8 {verdict}; calibrate it on other clips.")
        outputs = []
        for name in (RANGES_FILE, *(f"{role}.int8.onnx" for role in TOWERS)):
            outputs.append(stack.enter_context(AtomicOutput(folder / name)))
            shutil.copyfile(made / name, outputs[-1].temporary)
        commit_all(*outputs)


def main() -> int:
    """Read the command line and bundle; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m avol.export.bundle", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="none: only the bundled model's INT8 towers anew")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the calibration")
    parser.add_argument("--bias", type=float, default=0.0, help="of the calibration")
    parser.add_argument("--calibration", type=Path, metavar="DATA", help="clips for INT8 (default: synthetic scenes)")
    parser.add_argument("--note", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    try:
        if arguments.checkpoint is None:
            write_int8(bundled_model_folder(), arguments.calibration)
            return 0
        bundle(
            arguments.checkpoint,
            bundled_model_folder(read_checkpoint_spec(arguments.checkpoint).name),
            threshold=arguments.threshold,
            calibration=Calibration(scale=arguments.scale, bias=arguments.bias),
            notes=dict(note.split("=", 1) for note in arguments.note),
            clips=arguments.calibration,
        )
    except AvolError as error:
        _say(f"avol.export.bundle: {error}")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
