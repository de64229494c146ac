"""Put a trained model into the package: half-precision checkpoint, the graphs that running media needs, the spec.

``python -m avol.export.bundle runs/NAME/checkpoint.safetensors [--threshold P] [--note KEY=VALUE ...]``
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from avol.export.onnx_files import export_checkpoint
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.runtime.onnx_backend import GRAPHS
from avol.runtime.spec import Calibration
from avol.train.checkpoint import load_checkpoint, read_checkpoint_spec, save_checkpoint


def bundle(
    checkpoint: Path, folder: Path, *, threshold: float, calibration: Calibration, notes: dict[str, str]
) -> None:
    """Write the model of a checkpoint into ``folder``; ``notes`` are added to what the spec says of the training."""
    network = load_checkpoint(checkpoint)
    training = {**network.spec.training, **notes}
    spec = replace(network.spec, threshold=threshold, calibration=calibration, training=training)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(network, spec, folder / CHECKPOINT_FILE, half=True)
    export_checkpoint(folder / CHECKPOINT_FILE, folder, roles=GRAPHS)


def main() -> None:
    """Read the command line and bundle."""
    parser = argparse.ArgumentParser(prog="python -m avol.export.bundle", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the calibration")
    parser.add_argument("--bias", type=float, default=0.0, help="of the calibration")
    parser.add_argument("--note", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    notes = dict(note.split("=", 1) for note in arguments.note)
    name = read_checkpoint_spec(arguments.checkpoint).name
    calibration = Calibration(scale=arguments.scale, bias=arguments.bias)
    bundle(
        arguments.checkpoint,
        bundled_model_folder(name),
        threshold=arguments.threshold,
        calibration=calibration,
        notes=notes,
    )


if __name__ == "__main__":
    main()
