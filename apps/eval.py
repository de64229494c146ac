"""``avol eval``: measure how well a model finds sources, every figure beside its control."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from avol.apps import eval_protocol

if TYPE_CHECKING:
    from avol.runtime.spec import ModelSpec
    from avol.train.evaluate import Localise, Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol eval``."""
    parser.add_argument("model", type=Path, nargs="?", help="a checkpoint, or the folder of a run or an exported model")
    parser.add_argument(
        "data",
        type=Path,
        nargs="*",
        help="made by avol data prepare, or with images.csv, audio.csv and videos.csv (these may be several)",
    )
    parser.add_argument("--part", choices=("validation", "test"), default="validation", help="(default: %(default)s)")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="of an exported model (default: fp32)"
    )
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
    from avol.runtime.system import tells_where
    from avol.train.evaluate import CHANCE
    from avol.train.protocols.model import open_model

    output = None if arguments.json is None else AtomicOutput(arguments.json)  # a mistake shows before the work
    model = open_model(arguments.model, arguments.precision)
    spec = model.spec
    results = _measure(arguments, spec, model.localise)
    data = ", ".join(map(str, arguments.data))
    which = f"{spec.name} {spec.weights_sha256[:12]} in {arguments.precision}"
    print(f"{arguments.model}: {which}, {arguments.part} part of {data}")
    for name, figure in results.figures.items():
        chance = f"  (chance {100 * CHANCE[name]:.0f} %)" if name in CHANCE else ""
        print(f"  {name:<42} {figure}{chance}")
    if not tells_where(spec):
        print(f"  {spec.name} tells whether, not where: no figure of localisation is measured")
    if output is not None:
        record = {
            "model": {"name": spec.name, "sha256": spec.weights_sha256, "precision": arguments.precision},
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


def _measure(arguments: argparse.Namespace, spec: ModelSpec, localise: Localise) -> Results:
    """The figures on prepared pairs, or on labelled material."""
    from avol.runtime.errors import AvolError
    from avol.train.data.classes import split_names
    from avol.train.data.material import load_together
    from avol.train.data.prepare_settings import is_prepared
    from avol.train.evaluate import Evaluator

    folders, part = arguments.data, arguments.part
    if prepared := [folder for folder in folders if is_prepared(folder)]:
        from avol.train.evaluate_pairs import evaluate_pairs

        if len(folders) > 1:
            raise AvolError(f"{prepared[0]}: prepared pairs are measured alone; name one folder at a time.")
        return evaluate_pairs(prepared[0], part, spec, localise)
    labels = split_names(spec.training.get("classes", ""))
    if not labels:
        raise AvolError(
            f"{arguments.model}: its spec names no trained classes, so it can be measured on prepared pairs alone; "
            "name a folder of avol data prepare."
        )
    results = Evaluator(load_together(folders, part=part, spec=spec), spec, labels).everything(localise)
    if not results.figures:
        raise AvolError(
            f"{', '.join(map(str, folders))}: its {part} part holds too little of the model's classes to measure; add "
            "photographs, sounds or clips of four unlike ones."
        )
    return results
