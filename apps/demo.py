"""``avol demo`` (``avol-demo``): the model in a browser."""

from __future__ import annotations

import argparse
import ipaddress
import sys
import threading
from pathlib import Path

from avol.runtime.backends import DEVICES, PRECISIONS
from avol.runtime.errors import AvolError

EXAMPLES = """\
examples:
  avol-demo                                       the bundled model at http://127.0.0.1:7860
  avol-demo --model mine --port 8000              another model and port
  avol-demo --host 0.0.0.0 --auth-file people     for the network; one NAME:PASSWORD a line
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol demo``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, metavar="PATH", help="folder of an exported model (default: bundled)")
    parser.add_argument(
        "--device", choices=DEVICES, metavar="D", default="auto", help=f"{', '.join(DEVICES)} (default: the fastest)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, metavar="P", default="auto",
        help=f"{', '.join(PRECISIONS)} (default: the fastest)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=_port, default=7860, help="port; 0 for any free one (default: 7860)")
    parser.add_argument("--root-path", default="", metavar="PATH", help="path under which a proxy shows the page")
    parser.add_argument("--auth", metavar="NAME:PASSWORD", help="ask for this name and password")
    parser.add_argument("--auth-file", type=Path, metavar="FILE", help="the same, one NAME:PASSWORD a line")
    parser.add_argument("--share", action="store_true", help="publish the page through Gradio's servers (default: off)")
    parser.add_argument(
        "--max-seconds", type=_positive, default=120.0, metavar="S", help="longest video (default: 120)"
    )
    parser.add_argument(
        "--keep-minutes", type=_positive, default=60.0, metavar="M", help="then uploads and results go (default: 60)"
    )
    parser.add_argument(
        "--max-megabytes", type=_positive, default=200.0, metavar="MB", help="largest file (default: 200)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until interrupted; gives the exit code."""
    credentials = _credentials(arguments.auth, arguments.auth_file)

    from avol.apps.demo_app.limits import Limits
    from avol.apps.demo_app.server import ServerOptions, serve
    from avol.apps.run_console import termination_cleans_up

    options = ServerOptions(
        host=arguments.host,
        port=arguments.port,
        root_path=arguments.root_path,
        credentials=credentials,
        share=arguments.share,
        model=arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        keep_seconds=arguments.keep_minutes * 60.0,
        limits=Limits(duration_seconds=arguments.max_seconds, megabytes=arguments.max_megabytes),
    )
    if (arguments.share or not _is_loopback(options.host)) and not credentials:
        print("avol-demo: whoever reaches this page can use it; --auth-file asks for a password.", file=sys.stderr)
    with termination_cleans_up(), serve(options) as (address, model):
        print(f"{model}\n{address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    return 0


def _credentials(pair: str | None, file: Path | None) -> tuple[tuple[str, str], ...]:
    """Names and passwords of both options.

    Raises:
        AvolError: the file cannot be read.
        argparse.ArgumentError: a line or argument is not ``NAME:PASSWORD``.
    """
    given = [] if pair is None else [("--auth", pair)]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise AvolError(f"{file}: cannot be read: {reason}. Give a file with one NAME:PASSWORD a line.") from None
        given += [(f"{file} line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
        if not given:
            raise AvolError(f"{file}: holds no NAME:PASSWORD. Write one a line, or leave --auth-file out.")
    found = []
    for where, text in given:
        name, colon, password = text.strip().partition(":")
        if not (name and colon and password):
            # Never the text itself: it may be a password.
            raise argparse.ArgumentError(None, f"{where}: not of the form NAME:PASSWORD")
        found.append((name, password))
    return tuple(found)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000000")
    return value
