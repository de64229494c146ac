"""``avol eval``: measure how well a model finds sources, every figure beside its control."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from avol.apps import eval_protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avol.runtime.spec import ModelSpec
    from avol.train.evaluate import Localise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol eval``."""
    parser.add_argument(
        "model", type=Path, nargs="?", help="a .safetensors checkpoint, or the folder of an exported model"
    )
    parser.add_argument("data", type=Path, nargs="*", help="folders with images.csv, audio.csv and videos.csv")
    parser.add_argument("--part", choices=("validation", "test"), default="validation", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    eval_protocol.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; gives the exit code."""
    if arguments.protocol is not None:
        return eval_protocol.run(arguments)
    if not arguments.data:
        raise argparse.ArgumentError(None, "MODEL and DATA are needed, or --protocol")
    import dataclasses
    import json

    from avol.runtime.atomic import AtomicOutput, write_error
    from avol.runtime.errors import AvolError
    from avol.train.data.material import load_together
    from avol.train.evaluate import CHANCE, Evaluator

    output = None if arguments.json is None else AtomicOutput(arguments.json)  # a mistake shows before the work
    spec, localise = _open(arguments.model)
    labels = [name for name in spec.training.get("classes", "").split(", ") if name]
    if not labels:
        raise AvolError(f"{arguments.model}: its spec names no trained classes; evaluate a model trained with --data.")
    material = load_together(arguments.data, part=arguments.part, spec=spec)
    data = ", ".join(map(str, arguments.data))
    results = Evaluator(material, spec, labels).everything(localise)
    if not results.figures:
        raise AvolError(
            f"{data}: its {arguments.part} part holds too little of the model's classes to measure; add "
            "photographs, sounds or clips of four unlike ones."
        )
    print(f"{arguments.model}: {spec.name} {spec.weights_sha256[:12]}, {arguments.part} part of {data}")
    for name, figure in results.figures.items():
        chance = f"  (chance {100 * CHANCE[name]:.0f} %)" if name in CHANCE else ""
        print(f"  {name:<42} {figure}{chance}")
    if output is not None:
        record = {
            "model": {"name": spec.name, "sha256": spec.weights_sha256},
            "part": arguments.part,
            "figures": {name: dataclasses.asdict(figure) for name, figure in results.figures.items()},
            "by_class": {
                name: {label: {"value": value, "count": count} for label, (value, count) in classes.items()}
                for name, classes in results.by_class.items()
            },
        }
        with output:
            try:
                output.temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            except OSError as error:
                raise write_error(output.path, error) from None
            output.commit()
    return 0


def _open(model: Path) -> tuple[ModelSpec, Localise]:
    """A checkpoint runs in torch, an exported model in ONNX Runtime."""
    if model.is_dir():
        from avol.runtime.onnx_backend import OnnxBackend
        from avol.runtime.system import AvolNetSystem

        backend = OnnxBackend(model)
        return backend.spec, AvolNetSystem(backend).localise_samples
    import numpy as np
    import torch

    from avol.train.checkpoint import load_checkpoint

    network = load_checkpoint(model)

    def localise(frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits = network(torch.from_numpy(frames), torch.from_numpy(samples))
        calibration = network.spec.calibration
        probabilities = torch.sigmoid(logits * calibration.scale + calibration.bias)
        return np.asarray(probabilities, dtype=np.float32)

    return network.spec, localise
