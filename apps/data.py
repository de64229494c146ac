"""``avol data``: get videos, turn them into training pairs, and look at what came out."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

# Name -> module of this package with `add_arguments` and `run`, as for the subcommands of `avol` itself; and its help.
ACTIONS = {
    "fetch": ("avol.apps.data_fetch", "Get the clips of a list from the web."),
    "prepare": ("avol.apps.data_prepare", "Turn videos into shards of small frames and sound."),
    "inspect": ("avol.apps.data_inspect", "Count and show what was prepared."),
}


class _ActionParser(argparse.ArgumentParser):
    """A parser that imports its action's module when the action is asked for, and not before."""

    def __init__(self, *, module: str = "", **options: Any) -> None:  # noqa: ANN401 (those of ArgumentParser)
        super().__init__(**options)
        self._module = module

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (as the base class's overloads)
        if self._module:
            importlib.import_module(self._module).add_arguments(self)
            self._module = ""
        return super().parse_known_args(*arguments, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Actions of ``avol data``, each with its options."""
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, title="actions", parser_class=_ActionParser
    )
    for name, (module, help_line) in ACTIONS.items():
        actions.add_parser(name, help=help_line, description=help_line, allow_abbrev=False, module=module)


def run(arguments: argparse.Namespace) -> int | None:
    """Run the action; gives the exit status."""
    status: int | None = importlib.import_module(ACTIONS[arguments.action][0]).run(arguments)
    return status
