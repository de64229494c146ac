"""``avol data``: turn videos into training pairs, and look at what came out."""

from __future__ import annotations

import argparse
import importlib

# Name -> module of this package with `add_arguments` and `run`, as for the subcommands of `avol` itself; and its help.
ACTIONS = {
    "prepare": ("avol.apps.data_prepare", "Turn videos into shards of small frames and sound."),
    "inspect": ("avol.apps.data_inspect", "Count and show what was prepared."),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Actions of ``avol data``, each with its options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    for name, (module, help_line) in ACTIONS.items():
        importlib.import_module(module).add_arguments(
            actions.add_parser(name, help=help_line, description=help_line, allow_abbrev=False)
        )


def run(arguments: argparse.Namespace) -> int | None:
    """Run the action; gives the exit status."""
    status: int | None = importlib.import_module(ACTIONS[arguments.action][0]).run(arguments)
    return status
