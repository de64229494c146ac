"""``avol figures``: the network, its training and what it finds, as figures for papers and model cards."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = """\
examples:
  avol figures network avol-128 --out network.pdf
  avol figures history runs/avol-128-half-width --out history.pdf
  avol figures variants full=runs/full-1,runs/full-2,runs/full-3 half=runs/half-1,runs/half-2,runs/half-3 --out v.pdf
  avol figures panels --out panels.png              the bundled model on synthetic scenes
  avol figures panels mine piano.mp4 dog.mp4 --out panels.png
  avol figures all --run runs/avol-128-half-width --out figures
"""
CHECKPOINT_HELP = "checkpoint, or a folder that holds one (default: the bundled model)"
SHARPER = 4  # than the network sees it is a picture shown
LARGEST_PICTURES = 256  # for the effective receptive field


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Figures, each with its options."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    figures = parser.add_subparsers(dest="figure", metavar="FIGURE", required=True, title="figures")

    def add(name: str, help_line: str) -> argparse.ArgumentParser:
        figure = figures.add_parser(name, help=help_line, description=help_line, allow_abbrev=False)
        if name != "all":
            figure.add_argument(
                "--out", type=Path, required=True, metavar="FILE", help="the figure: .png, .svg or .pdf"
            )
        if name in {"history", "variants"}:
            figure.add_argument(
                "--window", type=int, metavar="N", help="logged points under the moving average (default: a twentieth)"
            )
        return figure

    network = add("network", "The network drawn to scale, with the shape of every layer.")
    network.add_argument("network", metavar="PRESET|CHECKPOINT", help="what to draw; a checkpoint's map is its own")
    history = add("history", "Loss and accuracy over the steps, and where overfitting begins.")
    history.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or its log.jsonl")
    variants = add("variants", "Several runs side by side.")
    variants.add_argument(
        "variants", nargs="+", metavar="[NAME=]RUN[,RUN...]", help="runs of one kind, which differ in their seed"
    )
    weights = add("weights", "The kernels of the first layers of both towers.")
    weights.add_argument("checkpoint", nargs="?", type=Path, help=CHECKPOINT_HELP)
    field = add("receptive-field", "What a cell of the grid can see, and what it looks at.")
    field.add_argument("checkpoint", nargs="?", type=Path, help=CHECKPOINT_HELP)
    field.add_argument("picture", nargs="?", type=Path, help="picture to draw on (default: a synthetic scene)")
    field.add_argument("--cell", nargs=2, type=int, metavar=("ROW", "COLUMN"), help="from 0 (default: the middle)")
    field.add_argument(
        "--pictures", type=int, default=32, metavar="N", help="synthetic scenes to average over (default: %(default)s)"
    )
    panels = add("panels", "Localisation: true pairs, one picture with two sounds, off-screen sources.")
    panels.add_argument("model", nargs="?", type=Path, help="checkpoint or exported model (default: the bundled one)")
    panels.add_argument("clips", nargs="*", type=Path, metavar="CLIP", help="videos (default: synthetic scenes)")
    everything = add("all", "Every figure of one run and its model, into one folder.")
    everything.add_argument("--run", type=Path, required=True, help="folder of the run")
    everything.add_argument("--model", type=Path, metavar="CHECKPOINT", help="(default: the run's)")
    everything.add_argument("--out", type=Path, required=True, metavar="DIR", help="made if missing")
    everything.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Draw; gives the exit status."""
    from avol.train.figures.style import open_output, write_figure

    _check(arguments)
    jobs = _everything(arguments) if arguments.figure == "all" else [arguments]
    # Mistakes in names show before the work.
    outputs = [open_output(job.out) for job in jobs]
    for job, output in zip(jobs, outputs, strict=True):
        write_figure(_draw(job), output)
        print(job.out)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    window = getattr(arguments, "window", None)
    if window is not None and window < 1:
        raise argparse.ArgumentError(None, "--window must be at least 1")
    if not 1 <= getattr(arguments, "pictures", 1) <= LARGEST_PICTURES:
        raise argparse.ArgumentError(None, f"--pictures must be 1 to {LARGEST_PICTURES}")


def _everything(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """One job per figure of a run."""
    from avol.runtime.atomic import write_error
    from avol.runtime.system import tells_where
    from avol.train.figures.curves import read_history
    from avol.train.figures.models import open_network

    model: Path = arguments.model or arguments.run
    read_history(arguments.run)  # mistakes show before the folder is made
    spec = open_network(model).spec
    figures: dict[str, dict[str, object]] = {
        "network": {"network": str(model)},
        "history": {"runs": [arguments.run], "window": None},
        "weights": {"checkpoint": model},
        "receptive-field": {"checkpoint": model, "picture": None, "cell": None, "pictures": 32},
        "panels": {"model": model, "clips": []},
    }
    if not tells_where(spec):
        print(f"{model}: {spec.name} tells whether, not where: no panels are drawn")
        del figures["panels"]
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(arguments.out, error) from None
    return [
        argparse.Namespace(figure=name, out=arguments.out / f"{name}.{arguments.format}", **values)
        for name, values in figures.items()
    ]


def _draw(job: argparse.Namespace) -> Figure:
    drawers = {
        "network": _network,
        "history": _history,
        "variants": _variants,
        "weights": _weights,
        "receptive-field": _receptive_field,
        "panels": _panels,
    }
    return drawers[job.figure](job)


def _network(job: argparse.Namespace) -> Figure:
    from avol.train.figures.models import open_preset_or_network
    from avol.train.figures.network import draw_network

    network, trained = open_preset_or_network(job.network)
    return draw_network(network, trained=trained)


def _history(job: argparse.Namespace) -> Figure:
    from avol.train.figures.curves import read_history
    from avol.train.figures.history import draw_history

    return draw_history([read_history(run) for run in job.runs], window=job.window)


def _variants(job: argparse.Namespace) -> Figure:
    from avol.train.figures.variants import draw_variants, read_variant

    return draw_variants([read_variant(text) for text in job.variants], window=job.window)


def _weights(job: argparse.Namespace) -> Figure:
    from avol.train.figures.models import open_network
    from avol.train.figures.weights import draw_weights

    return draw_weights(open_network(job.checkpoint))


def _receptive_field(job: argparse.Namespace) -> Figure:
    from avol.runtime.media.video import read_picture
    from avol.train.figures.models import open_network
    from avol.train.figures.receptive_field import draw_receptive_field, scene_pictures

    network = open_network(job.checkpoint)
    height, width = network.spec.frame_height, network.spec.frame_width
    pictures = scene_pictures(height, width, job.pictures)
    shown = {"height": SHARPER * height, "width": SHARPER * width}
    picture = scene_pictures(count=1, **shown)[0] if job.picture is None else read_picture(job.picture, **shown)
    return draw_receptive_field(network, picture, pictures, cell=None if job.cell is None else tuple(job.cell))


def _panels(job: argparse.Namespace) -> Figure:
    from avol.runtime.errors import AvolError
    from avol.runtime.system import tells_where
    from avol.train.figures.models import open_localiser
    from avol.train.figures.moments import clip_moment
    from avol.train.figures.panels import clip_rows, draw_panels, synthetic_rows

    spec, localise = open_localiser(job.model)
    if not tells_where(spec):
        raise AvolError(
            f"{job.model}: {spec.name} tells whether, not where: it has no map to draw; choose another model."
        )
    clips = [clip_moment(path, spec) for path in job.clips]
    return draw_panels(clip_rows(clips, spec) if clips else synthetic_rows(spec), localise, spec)
