"""``avol data inspect``: what was prepared, in numbers and in pictures."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol data inspect``."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="made by avol data prepare")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="frames of some clips with their spectrograms")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the counts there as well")


def run(arguments: argparse.Namespace) -> int:
    """Count, print, draw; gives the exit status."""
    import json

    from avol.runtime.atomic import AtomicOutput, write_error
    from avol.train.data.contact_sheet import write_contact_sheet
    from avol.train.data.inventory import take_inventory

    outputs = [AtomicOutput(path) for path in (arguments.sheet, arguments.json) if path is not None]
    inventory = take_inventory(arguments.folder)
    for line in inventory.lines():
        print(line)
    if arguments.sheet is not None:
        write_contact_sheet(arguments.folder, arguments.sheet)
    if arguments.json is not None:
        with outputs[-1] as output:
            try:
                output.temporary.write_text(json.dumps(inventory.record(), indent=2) + "\n", encoding="utf-8")
            except OSError as error:
                raise write_error(output.path, error) from None
            output.commit()
    return 0
