"""``avol data inspect``: what was prepared, in numbers and in pictures."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol data inspect``."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="made by avol data prepare")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw frames of some clips over their spectrograms")
    parser.add_argument("--clips", type=int, default=24, metavar="N", help="on the sheet (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Count, print, draw; gives the exit status."""
    import json
    import sys

    from avol.runtime.atomic import AtomicOutput
    from avol.train.data.contact_sheet import write_contact_sheet
    from avol.train.data.inventory import lines_of, take_inventory

    if not 1 <= arguments.clips <= 1000:
        raise argparse.ArgumentError(None, "--clips must be from 1 to 1000")
    if arguments.sheet is not None:
        AtomicOutput(arguments.sheet)  # a mistake shows before the work
    inventory = take_inventory(arguments.folder)
    if arguments.json:
        print(json.dumps(inventory.record(), indent=2))
    else:
        print("\n".join(lines_of(inventory)))
    if arguments.sheet is not None:
        write_contact_sheet(arguments.folder, arguments.sheet, count=arguments.clips)
        print(f"contact sheet: {arguments.sheet}", file=sys.stderr if arguments.json else sys.stdout)
    return 0
