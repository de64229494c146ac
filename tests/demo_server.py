"""Starts ``avol demo`` as a process of its own, and notes every connection that it tries to make to another machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Python imports this when it starts. Connections to this machine pass, others are written down and refused.
GUARD = """
import os, socket
def _note(address):
    host = address[0] if isinstance(address, tuple) else ""
    if host not in ("", "127.0.0.1", "localhost", "::1", "0.0.0.0", None):
        with open(os.environ["AVOL_TEST_FOREIGN"], "a") as file:
            file.write(f"{host}\\n")
        raise OSError(f"no way to {host}")
_connect, _connect_ex, _lookup = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
class _Socket(socket.socket):
    def connect(self, address): _note(address); return super().connect(address)
    def connect_ex(self, address): _note(address); return super().connect_ex(address)
socket.socket = _Socket
def _guarded(host, *rest, **named):
    _note((host.decode() if isinstance(host, bytes) else host,))
    return _lookup(host, *rest, **named)
socket.getaddrinfo = _guarded
"""


@dataclass
class DemoServer:
    """A running demo.

    Attributes:
        process: the server.
        url: its address, without a slash at the end.
        temporary: the folder in which it makes its private one.
        home: its user's home folder, which is not there.
        foreign: names of machines that it tried to reach, a line each.
        errors: what it wrote to standard error.
    """

    process: subprocess.Popen[str]
    url: str
    temporary: Path
    home: Path
    foreign: Path
    errors: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def files(self) -> list[Path]:
        """Its temporary files."""
        return [path for path in self.temporary.glob("avol-demo-*/**/*") if path.is_file()]

    def resources(self) -> dict[str, int]:
        """What it holds now: resident kilobytes, threads, open descriptors."""
        proc = Path("/proc") / str(self.process.pid)
        status = (proc / "status").read_text(encoding="utf-8")
        resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert resident
        return {
            "kilobytes": int(resident[1]),
            "threads": len(list((proc / "task").iterdir())),
            "descriptors": len(list((proc / "fd").iterdir())),
        }


@contextlib.contextmanager
def demo_server(folder: Path, *arguments: str) -> Iterator[DemoServer]:
    """A server on a free port of 127.0.0.1, ended by SIGTERM."""
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    temporary, foreign, errors = folder / "temporary", folder / "foreign", folder / "errors"
    temporary.mkdir()
    foreign.touch()
    home = folder / "home"
    environment = os.environ | {"TMPDIR": str(temporary), "AVOL_TEST_FOREIGN": str(foreign), "HOME": str(home)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # set by avol in this process, and for avol to set in that one
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "guard"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with errors.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "avol", "demo", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    try:
        assert process.stdout
        line = process.stdout.readline() + process.stdout.readline()
        address = re.search(r"http://[\d.]+:\d+", line)
        assert address, f"{line}{errors.read_text(encoding='utf-8')}"
        yield DemoServer(process, address[0], temporary, home, foreign, errors)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.stdout
        process.stdout.close()
