"""The ``avol`` command: finds the subcommand, imports only its module, and turns mistakes into one line each.

A subcommand is a module of this package with two functions::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(arguments: argparse.Namespace) -> int | None: ...  # the exit status, None for 0

Its top level imports nothing heavy (NumPy, PyAV, OpenCV, an inference engine, torch), so that ``--help`` answers at
once; ``run`` imports what it needs. A usage mistake that only shows when several arguments are seen together is raised
from ``run`` as ``argparse.ArgumentError(None, message)``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from avol import __version__
from avol.runtime.errors import AvolError

EXIT_MISTAKE = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand: the module that defines it, the line in ``avol --help``, the extra whose packages it needs."""

    module: str
    help: str
    extra: str


COMMANDS = {
    "run": Command(module="avol.apps.run", help="Find and show what sounds in a video.", extra="cpu"),
    "data": Command(module="avol.apps.data", help="Turn videos into pairs to train on.", extra="train"),
    "train": Command(module="avol.apps.train", help="Train a model.", extra="train"),
    "eval": Command(module="avol.apps.eval", help="Measure how well a model finds sources.", extra="train"),
    "embed": Command(module="avol.apps.embed", help="Write the vectors of sounds and pictures.", extra="cpu"),
    "calibrate": Command(
        module="avol.apps.calibrate", help="Fit score and threshold to held-out pairs.", extra="export"
    ),
    "export": Command(module="avol.apps.export", help="Turn a checkpoint into graphs for devices.", extra="export"),
    "verify": Command(module="avol.apps.verify", help="Hold two forms of a model against each other.", extra="export"),
    "figures": Command(module="avol.apps.figures", help="Draw a network, its training and its finds.", extra="train"),
    "demo": Command(module="avol.apps.demo", help="Show the model in a browser.", extra="demo"),
    "bench": Command(module="avol.apps.bench", help="Measure how fast a model runs here.", extra="cpu"),
    "completion": Command(module="avol.apps.completion", help="Print what shells complete with.", extra="cpu"),
    "doctor": Command(module="avol.apps.doctor", help="Say what works here, and how to mend the rest.", extra="cpu"),
}

# Import name of an optional package -> the extras in pyproject.toml that bring it.
EXTRAS_WITH = {
    "onnxruntime": ("cpu", "gpu"),
    "tensorrt": ("tensorrt",),
    "pycuda": ("tensorrt",),
    "cuda": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt-rtx",),
    "torch": ("train", "export"),
    "torchaudio": ("train", "export"),
    "safetensors": ("train", "export"),
    "matplotlib": ("train",),
    "onnx": ("export",),
    "onnxscript": ("export",),
    "gradio": ("demo",),
    "yt_dlp": ("fetch",),
}


class _CommandHelp(argparse.HelpFormatter):
    """Keeps the longest name of a command on the line of its help: argparse counts names without their indent."""

    def add_argument(self, action: argparse.Action) -> None:
        """Make room as the action is added."""
        super().add_argument(action)
        room = max(map(len, COMMANDS)) + 2 * self._indent_increment
        self._action_max_length = max(self._action_max_length, room)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``avol``; returns the exit status.

    Args:
        argv: the arguments after the program's name; those of the process if None.

    Raises:
        SystemExit: after ``--help`` and ``--version`` (0) and on a usage mistake (2).
    """
    return _guard("avol", lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def main_run(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``avol-run``, the same as ``avol run``; see :func:`main`."""
    return _alone("run", argv)


def main_demo(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``avol-demo``, the same as ``avol demo``; see :func:`main`."""
    return _alone("demo", argv)


def _alone(name: str, argv: Sequence[str] | None) -> int:
    """A command that is a program of its own."""
    program = f"avol-{name}"

    def dispatch() -> int:
        parser = argparse.ArgumentParser(prog=program, description=COMMANDS[name].help, allow_abbrev=False)
        parser.add_argument("--version", action="version", version=f"avol {__version__}")
        return _execute(name, parser, lambda: parser.parse_args(argv))

    return _guard(program, dispatch)


def _dispatch(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="avol", description="Find where in a picture a sound comes from.", formatter_class=_CommandHelp
    )
    parser.add_argument("--version", action="version", version=f"avol {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    by_name = {
        name: subparsers.add_parser(name, help=command.help, description=command.help, allow_abbrev=False)
        for name, command in COMMANDS.items()
    }
    # No option of `avol` itself takes a value, so the first word that is no option is the command.
    name = next((word for word in argv if not word.startswith("-")), "")
    if name not in COMMANDS:
        parser.parse_args(argv)  # prints help, version or the mistake, and exits
        raise AssertionError("argparse accepts no other command")
    return _execute(name, by_name[name], lambda: parser.parse_args(argv))


def _execute(name: str, parser: argparse.ArgumentParser, parse: Callable[[], argparse.Namespace]) -> int:
    """Define the command's arguments, parse them and run it; ``parser`` is the command's, ``parse`` the program's."""
    try:
        module = importlib.import_module(COMMANDS[name].module)
        module.add_arguments(parser)
        arguments = parse()
        status: int | None = module.run(arguments)
        return status or 0
    except argparse.ArgumentError as error:
        parser.error(str(error))
    except AvolError as error:
        return _mistake(parser.prog, str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS_WITH:
            raise
        extras = EXTRAS_WITH[package]
        extra = COMMANDS[name].extra if COMMANDS[name].extra in extras else extras[0]
        return _mistake(
            parser.prog,
            f"{package} is not installed: install avol with its extra: pip install '.[{extra}]' in avol's folder.",
        )


def _guard(program: str, dispatch: Callable[[], int]) -> int:
    """Call ``dispatch``; an interrupt and a reader that has gone end the program quietly."""
    # A daemon may start the program with its streams closed: what it says then goes nowhere.
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    try:
        try:
            status = dispatch()
        finally:
            unwritten = _flush()  # here, where a reader that has gone is expected, and not at the interpreter's exit
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return EXIT_BROKEN_PIPE
    if unwritten:
        _drop_output()
    return (
        _mistake(program, f"standard output: cannot be written: {unwritten}.") if unwritten and not status else status
    )


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 (it lives as long as the program)


def _flush() -> str:
    """Write out what was printed; gives the reason if that cannot be done (a full disk behind a redirection)."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _drop_output() -> None:
    """What is still buffered has no reader: without this, the interpreter reports the same error once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _mistake(program: str, message: str) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return EXIT_MISTAKE
