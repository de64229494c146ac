"""``avol train``: train a model on labelled photographs, sounds and clips, on synthetic scenes, or on both."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avol.runtime.spec import ModelSpec
    from avol.train.anchors import ClassAnchors
    from avol.train.loop import DrawBatch

EXAMPLES = """\
examples:
  avol train                                        on synthetic scenes alone, into runs/avol-128-half-width/
  avol train --data ../shared/data --steps 9000     on labelled photographs, sounds and clips, and scenes
  avol export runs/avol-128-half-width/checkpoint.safetensors --out mine

A run that was interrupted goes on where it was when the same command is given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol train``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with images.csv, audio.csv and videos.csv")
    parser.add_argument(
        "--preset", default="avol-128-half-width", metavar="NAME", help="network (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/PRESET)")
    parser.add_argument("--steps", type=int, default=1500, help="batches to learn from (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=300, help="synthetic scenes to render (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="R", help="highest (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what the towers compute in; bfloat16 is twice as fast where the processor has it (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; gives the exit code."""
    from dataclasses import replace

    import torch

    from avol.train.loop import TrainingOptions, train
    from avol.train.network import build_network, preset_spec

    _check(arguments)
    spec = preset_spec(arguments.preset)
    out: Path = arguments.out or Path("runs") / arguments.preset
    torch.manual_seed(arguments.seed)
    draw, anchors, training = _source(arguments, spec)
    network = build_network(replace(spec, training=training))
    options = TrainingOptions(
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        precision=arguments.precision,
    )
    steps = train(network, draw, options, out, anchors=anchors)
    print(f"{out / 'checkpoint.safetensors'}: {steps} steps; avol export turns it into graphs.")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    lowest = {"steps": 1, "scenes": 0 if arguments.data is not None else 50, "learning_rate": 1e-9, "seed": 0}
    for name, least in lowest.items():
        if not getattr(arguments, name) >= least:  # not a number fails as well
            raise argparse.ArgumentError(None, f"--{name.replace('_', '-')} must be at least {least:g}")


def _source(arguments: argparse.Namespace, spec: ModelSpec) -> tuple[DrawBatch, ClassAnchors, dict[str, str]]:
    """What draws batches, an anchor for each of its classes, and what the spec says of the training."""
    from avol.train.anchors import ClassAnchors
    from avol.train.data.batches import BatchPlan, BatchSource
    from avol.train.data.material import load_material
    from avol.train.data.scene_pool import ScenePool
    from avol.train.scenes import KINDS

    pool = ScenePool(spec, scenes=arguments.scenes) if arguments.scenes else None
    training = {"steps": str(arguments.steps), "seed": str(arguments.seed), "scenes": str(arguments.scenes)}
    if arguments.data is None:
        assert pool is not None
        return pool.draw_batch, ClassAnchors(len(KINDS), spec.embedding_size), training
    material = load_material(arguments.data, part="train", spec=spec)
    source = BatchSource(material, pool, spec, BatchPlan())
    training |= {"classes": ", ".join(source.trained_labels), "photographs": str(len(material.photographs))}
    training |= {"sounds": str(len(material.sounds)), "clips": str(len(material.clips))}
    return source.draw, ClassAnchors(len(source.index), spec.embedding_size), training
