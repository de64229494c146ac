"""``avol train``: train on prepared videos, on labelled photographs, sounds and clips, or on synthetic scenes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from avol.runtime.spec import ModelSpec
    from avol.train.recipes import Recipe

SCENES = 300
LARGEST_SEED = 2**63 - 1  # that torch takes
PAIR_OPTIONS = ("epochs", "batch", "pairs_per_clip")  # for prepared pairs alone
EXAMPLES = """\
examples:
  avol train                                        on synthetic scenes alone, into runs/avol-128-half-width/
  avol train --data pairs                           on the videos that avol data prepare --out pairs has read
  avol train --data pairs --recipe report           the same as the report did it
  avol train --data ../shared/data --steps 9000     on labelled photographs, sounds and clips, and scenes
  torchrun --nproc-per-node 2 -m avol train --data pairs      with two GPUs
  avol export runs/avol-128-half-width/checkpoint.safetensors --out mine

A run that was interrupted goes on where it was when the same command is given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol train``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="made by avol data prepare, or with images.csv, audio.csv and videos.csv (these may be several)",
    )
    parser.add_argument(
        "--preset", default="avol-128-half-width", metavar="NAME", help="network (default: %(default)s)"
    )
    parser.add_argument("--recipe", default="avol", metavar="NAME", help="avol or report (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: runs/PRESET)")
    parser.add_argument("--steps", type=int, help="batches to learn from (default: the recipe's epochs, else 3000)")
    parser.add_argument("--epochs", type=int, help="passes over prepared pairs (default: the recipe's)")
    parser.add_argument("--batch", type=int, help="prepared pairs at a time (default: the recipe's)")
    parser.add_argument("--pairs-per-clip", type=int, metavar="N", help="in every epoch (default: the recipe's)")
    parser.add_argument(
        "--scenes",
        type=int,
        metavar="N",
        help=f"synthetic scenes to render; without --data at least 50 (default: {SCENES}; none with prepared pairs)",
    )
    parser.add_argument("--learning-rate", type=float, metavar="R", help="highest (default: the recipe's)")
    parser.add_argument(
        "--imagenet", type=Path, metavar="FILE", help="weights of torchvision's resnet18, for ez-vsl's frame tower"
    )
    parser.add_argument(
        "--box-weight",
        type=float,
        default=0.0,
        metavar="W",
        help="semi-supervised: of the places of cut-outs and synthetic scenes in the loss (default: 0, none are used)",
    )
    parser.add_argument("--clip-boxes", action="store_true", help="with --box-weight: of the boxes in videos.csv, too")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of the towers; auto: bfloat16 on a GPU. Twice as fast on processors that have it (default: %(default)s)",
    )
    parser.add_argument(
        "--drawing-threads", type=int, default=1, metavar="N", help="batches made at a time (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; gives the exit code."""
    import sys
    from dataclasses import replace

    import torch

    from avol.train.learner import read_run
    from avol.train.loop import train
    from avol.train.network import build_network, preset_spec
    from avol.train.network.imagenet import load_imagenet, sha256_of
    from avol.train.parallel import join_team, leave_team
    from avol.train.sources import open_training_source, options_of

    _check(arguments)
    spec, recipe = preset_spec(arguments.preset), _recipe(arguments)
    out: Path = arguments.out or Path("runs") / arguments.preset
    device = _device(arguments.device)
    precision = arguments.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "float32"
    training = {"recipe": recipe.name, "seed": str(arguments.seed), "precision": precision}
    training["learning_rate"] = str(recipe.learning_rate)
    _check_system(arguments, spec, recipe)
    if arguments.imagenet is not None:
        training["imagenet"] = sha256_of(arguments.imagenet)
    if arguments.box_weight:
        training["box_weight"] = str(arguments.box_weight)
        training["boxes"] = "cut-outs, scenes, clips" if arguments.clip_boxes else "cut-outs, scenes"
    read_run(out, spec.preset, training)  # another run in the folder shows before the work
    team = join_team(device)
    torch.manual_seed(arguments.seed)
    source = open_training_source(
        arguments.data,
        spec,
        recipe,
        seed=arguments.seed,
        device=device,
        steps=arguments.steps,
        scenes=SCENES if arguments.scenes is None else arguments.scenes,
        clip_boxes=arguments.clip_boxes,
    )
    for note in source.notes if team.leads else ():
        print(f"avol train: {note}", file=sys.stderr)
    network = build_network(replace(spec, training=source.training | training))
    if arguments.imagenet is not None:
        load_imagenet(network, arguments.imagenet)
    steps = train(
        network,
        source.batch_at,
        options_of(
            recipe,
            source,
            seed=arguments.seed,
            precision=precision,
            drawing_threads=arguments.drawing_threads,
            box_weight=arguments.box_weight,
        ),
        out,
        anchors=source.anchors,
        validation=source.validation,
        device=device,
        team=team,
    )
    leave_team()
    if team.leads:
        print(f"{out / 'checkpoint.safetensors'}: {steps} steps; avol export turns it into graphs.")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    lowest = {"steps": 1, "epochs": 1, "batch": 2, "pairs_per_clip": 1, "learning_rate": 1e-9, "seed": 0}
    lowest["box_weight"] = 0.0
    lowest |= {"scenes": 0 if arguments.data else 50, "drawing_threads": 1}
    for name, least in lowest.items():
        value = getattr(arguments, name)
        if value is not None and not value >= least:  # not a number fails as well
            raise argparse.ArgumentError(None, f"--{name.replace('_', '-')} must be at least {least:g}")
    if arguments.seed > LARGEST_SEED:
        raise argparse.ArgumentError(None, f"--seed must be at most {LARGEST_SEED}")
    if arguments.steps is not None and arguments.epochs is not None:
        raise argparse.ArgumentError(None, "--steps and --epochs are two lengths of one run; give one of them")
    _check_data_options(arguments)


def _check_data_options(arguments: argparse.Namespace) -> None:
    """Nothing that was asked for is passed over: some options go with prepared pairs alone, one with all else."""
    from avol.train.data.prepare_settings import is_prepared

    has_pairs = any(map(is_prepared, arguments.data))
    pointless = ("scenes",) if has_pairs else PAIR_OPTIONS
    given = [name for name in pointless if getattr(arguments, name) is not None]
    given += ["box_weight"] * (has_pairs and arguments.box_weight > 0)  # they know of no places
    if given:
        needed = "does not go with" if has_pairs else "goes only with"
        raise argparse.ArgumentError(None, f"--{given[0].replace('_', '-')} {needed} the pairs of avol data prepare")


def _check_system(arguments: argparse.Namespace, spec: ModelSpec, recipe: Recipe) -> None:
    """Some systems need what others cannot use."""
    from avol.train.network.presets import SYSTEMS

    system = SYSTEMS[spec.system]
    if arguments.imagenet is not None and not system.residual:
        raise argparse.ArgumentError(None, f"--imagenet goes with ez-vsl; --preset {spec.preset} has no ResNet")
    if system.guided and arguments.imagenet is None:
        raise argparse.ArgumentError(None, f"--preset {spec.preset} needs --imagenet, whose network sees the objects")
    if arguments.clip_boxes and not arguments.box_weight:
        raise argparse.ArgumentError(None, "--clip-boxes goes only with --box-weight, which says how much they count")
    if arguments.box_weight and system.one_cell:
        raise argparse.ArgumentError(None, f"--box-weight does not go with --preset {spec.preset}: it has no map")
    if not recipe.all_pairs and not system.single_pairs:
        raise argparse.ArgumentError(
            None,
            f"--recipe {recipe.name} learns from single pairs, --preset {spec.preset} from a whole batch; "
            "take --recipe avol",
        )


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The named recipe with what was asked for instead."""
    from dataclasses import replace

    from avol.train.recipes import RECIPES

    if arguments.recipe not in RECIPES:
        raise argparse.ArgumentError(None, f"--recipe must be one of {', '.join(RECIPES)}")
    recipe = RECIPES[arguments.recipe]
    given = {name: getattr(arguments, name) for name in ("epochs", "batch", "learning_rate")}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    if arguments.pairs_per_clip is not None:
        stages = tuple(replace(stage, pairs_per_clip=arguments.pairs_per_clip) for stage in recipe.stages)
        recipe = replace(recipe, stages=stages)
    return recipe


def _device(name: str) -> torch.device:
    """The device asked for; this process's own of several GPUs.

    Raises:
        AvolError: it is not there.
    """
    import os

    import torch

    from avol.runtime.errors import AvolError

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and (rank := os.environ.get("LOCAL_RANK")):
        name = f"cuda:{rank}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0][:160]
        raise AvolError(f"--device {name}: cannot be used ({reason}); choose cpu or another.") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
