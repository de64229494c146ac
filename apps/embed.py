"""``avol embed``: the vectors that a model makes of sounds and pictures, for other programs to learn from."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avol.runtime.backends import DEVICES, PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avol.apps.run_inputs import Input
    from avol.runtime.embedder import Embedder, FileEmbeddings

SMALLEST, LARGEST = 0.001, 1000.0  # of seconds and of pictures a second
EXAMPLES = """\
examples:
  avol embed mine sounds --recursive --out sounds.npz
  avol embed runs/mine/checkpoint.safetensors concert.mp4 violin.wav --hop 0.25 --out vectors.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol embed``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "model", type=Path, metavar="MODEL|CHECKPOINT", help="folder of an exported model; or a checkpoint (torch)"
    )
    parser.add_argument("files", type=Path, nargs="+", help="sounds, pictures, videos, folders of them, or patterns")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="where the vectors go")
    parser.add_argument(
        "--hop", type=_positive, metavar="SECONDS", help="between windows of sound (default: half a window)"
    )
    parser.add_argument(
        "--rate", type=_positive, default=1.0, metavar="HZ", help="pictures a second of videos (default: 1)"
    )
    parser.add_argument("--recursive", action="store_true", help="look in the folders below a folder as well")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="of an exported model (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of an exported model (default: fp32)")


def run(arguments: argparse.Namespace) -> int:
    """Embed every file; gives the exit code: 1 if one of them could not be used."""
    from avol.apps.run_console import say, termination_cleans_up
    from avol.apps.run_inputs import find_videos
    from avol.runtime.embedding_file import embedding_arrays, open_embeddings, write_embeddings
    from avol.runtime.errors import AvolError
    from avol.runtime.media.suffixes import MEDIA_SUFFIXES
    from avol.runtime.sound_windows import hop_in_samples

    if arguments.out.suffix.lower() != ".npz":
        raise argparse.ArgumentError(None, "--out must end with .npz")
    output = open_embeddings(arguments.out)  # a mistake shows before the work
    found = find_videos(arguments.files, recursive=arguments.recursive, suffixes=MEDIA_SUFFIXES, kind="media")
    with termination_cleans_up(), _open(arguments) as embedder:
        embedded = _embed_all(found.inputs, embedder, arguments)
        failed = len(found.inputs) - len(embedded)
        if not embedded:
            raise AvolError(f"{arguments.out}: not written: none of the {failed} files could be used.")
        grid = embedder.spec.spectrogram
        hop_seconds = hop_in_samples(grid, arguments.hop) / grid.sample_rate_hz
        arrays = embedding_arrays(embedded, embedder, hop_seconds=hop_seconds)
        write_embeddings(output, arrays)
    sounds, frames = len(arrays["sound_embeddings"]), len(arrays["frame_embeddings"])
    spec, lines = embedder.spec, [f"{len(embedded)} of {len(found.inputs)} files, {failed} failed"]
    lines += [f"{found.results_passed_over} results of avol passed over"] * bool(found.results_passed_over)
    lines.append(f"{sounds} windows of sound and {frames} pictures, {spec.embedding_size} numbers each")
    lines.append(f"{spec.name}, {embedder.backend} {embedder.precision} -> {arguments.out}")
    say(", ".join(lines))
    return 1 if failed else 0


def _embed_all(
    inputs: Sequence[Input], embedder: Embedder, arguments: argparse.Namespace
) -> list[tuple[Path, FileEmbeddings]]:
    """One bad file does not stop the others."""
    from tqdm import tqdm

    from avol.apps.run_console import one_line
    from avol.runtime.embedder import embed_file
    from avol.runtime.errors import AvolError

    embedded = []
    for entry in tqdm(inputs, desc="avol embed", unit="file", leave=False, disable=None):
        try:
            found = embed_file(entry.video, embedder, hop_seconds=arguments.hop, rate_hz=arguments.rate)
        except AvolError as error:
            notes = [str(error)]
        else:
            embedded.append((entry.video, found))
            notes = found.notes
        for note in notes:
            tqdm.write(f"avol embed: {one_line(note, sys.stderr)}", file=sys.stderr)
    return embedded


def _open(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[Embedder]:
    from avol.runtime.errors import AvolError
    from avol.runtime.model_folder import is_exported

    model: Path = arguments.model
    if is_exported(model):
        from avol.runtime.embedder import open_embedder

        return open_embedder(model, arguments.device, arguments.precision)
    if arguments.device not in ("auto", "cpu") or arguments.precision not in ("auto", "fp32"):
        raise AvolError(
            f"{model}: a checkpoint computes in fp32 on the CPU; name the folder of an exported model for --device and "
            "--precision."
        )
    from avol.train.embedder import open_checkpoint_embedder

    return contextlib.nullcontext(open_checkpoint_embedder(model))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not SMALLEST <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between {SMALLEST:g} and {LARGEST:g}")
    return value
