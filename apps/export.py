"""``avol export``: turn a checkpoint into the graphs that a device runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from avol.apps.export_engines import add_engine_arguments, build_requested
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder

EXAMPLES = """\
examples:
  avol export                                             the bundled checkpoint, into out/avol-128-half-width/
  avol export runs/mine/checkpoint.safetensors --out mine
  avol-run clip.mp4 --model mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol export``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a .safetensors file (default: the bundled one)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the graphs (default: out/NAME)")
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the graphs and compare each with the network; gives the exit code."""
    from avol.export.onnx_files import export_checkpoint
    from avol.export.verify import LARGEST_DIFFERENCE, compare_with_network
    from avol.runtime.errors import AvolError
    from avol.train.checkpoint import read_checkpoint_spec

    checkpoint: Path = arguments.checkpoint or bundled_model_folder() / CHECKPOINT_FILE
    out: Path = arguments.out or Path("out") / read_checkpoint_spec(checkpoint).name
    written = export_checkpoint(checkpoint, out)
    differences = compare_with_network(checkpoint, out)
    print(f"{'file':<24}{'size':>10}{'largest difference to torch':>30}")
    for path in written:
        difference = f"{differences[path.stem]:.1e}" if path.stem in differences else ""
        print(f"{path.name:<24}{path.stat().st_size / 1e6:>7.2f} MB{difference:>30}")
    if wrong := [f"{role}.onnx" for role, value in differences.items() if not value <= LARGEST_DIFFERENCE]:
        raise AvolError(
            f"{out}: {', '.join(wrong)} differ from the network; do not use them, and report this as a bug."
        )
    written += [engine.path for engine in build_requested(arguments, out)]
    print(f"{out}: {len(written)} files; run them with: avol-run VIDEO --model {out}")
    return 0
