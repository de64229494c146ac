"""``avol completion``: what a shell needs to complete the commands and their options."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

SHELLS = ("bash", "zsh", "tcsh")
EXAMPLES = """\
examples:
  eval "$(avol completion bash)"                     for this shell; put it into ~/.bashrc for all
  avol completion zsh > "${fpath[1]}/_avol"          zsh reads it when it starts
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol completion``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS)
    parser.add_argument("--program", choices=("avol", "avol-run"), help="(bash: both, else avol)")


def run(arguments: argparse.Namespace) -> int:
    """Print the script; gives the exit code."""
    import shtab

    parsers = {"avol": _avol, "avol-run": _avol_run}
    programs = [arguments.program] if arguments.program else ["avol"]
    if arguments.program is None and arguments.shell == "bash":
        programs = list(parsers)
    for program in programs:
        print(shtab.complete(parsers[program](), arguments.shell))
    return 0


def _avol() -> argparse.ArgumentParser:
    from avol.apps.cli import COMMANDS

    parser = argparse.ArgumentParser(prog="avol")
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        try:
            module = importlib.import_module(command.module)
        except ModuleNotFoundError:  # an extra that is not installed
            continue
        _with_files(module.add_arguments, commands.add_parser(name, help=command.help))
    return parser


def _avol_run() -> argparse.ArgumentParser:
    from avol.apps import run as module

    parser = argparse.ArgumentParser(prog="avol-run")
    _with_files(module.add_arguments, parser)
    return parser


def _with_files(add_arguments: Callable[[argparse.ArgumentParser], None], parser: argparse.ArgumentParser) -> None:
    """The arguments of a command, those that are paths completed by names of files."""
    import shtab

    add_arguments(parser)
    for action in parser._actions:
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
