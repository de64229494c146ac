"""The demo's own temporary folder: private, swept while it runs, gone when it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

KEEP_SECONDS = 3600.0
MOST_BYTES = 4_000_000_000
SWEEP_EVERY_SECONDS = 60.0
RESULTS = "results"


class PrivateFolder:
    """Context manager: a folder that only this user can read, for uploads and results of all visitors.

    While it is open, Gradio and everything else that asks Python for temporary files get them here. A file is removed
    when nobody has touched it for ``keep_seconds``, sooner if all of them exceed ``most_bytes``.

    Attributes:
        path: the folder.
    """

    def __init__(self, *, keep_seconds: float = KEEP_SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self._keep_seconds, self._most_bytes = keep_seconds, most_bytes
        self._closed = threading.Event()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> PrivateFolder:
        self.path = Path(os.path.realpath(tempfile.mkdtemp(prefix="avol-demo-")))  # mode 0700
        self._stack.callback(shutil.rmtree, self.path, ignore_errors=True)
        self._stack.enter_context(_temporary_files_in(self.path))
        sweeper = threading.Thread(target=self._sweep_now_and_then, name="avol-demo-sweeper", daemon=True)
        sweeper.start()
        self._stack.callback(sweeper.join, timeout=5.0)
        self._stack.callback(self._closed.set)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def new_results(self) -> Path:
        """An empty folder with a name that cannot be guessed."""
        folder = self.path / RESULTS / secrets.token_urlsafe(16)
        folder.mkdir(parents=True)
        return folder

    def touch(self, path: Path) -> None:
        """Count a file as used now, so that it stays while it is worked on."""
        with contextlib.suppress(OSError):  # it has gone; who reads it says so
            path.touch()

    def remove(self, folder: Path) -> None:
        """Remove a folder of results; one that has gone already is fine."""
        shutil.rmtree(folder, ignore_errors=True)

    def files(self) -> list[Path]:
        """All files in it."""
        return [path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()]

    def sweep(self, keep_seconds: float | None = None) -> None:
        """Remove what is old, then the oldest of what is too much, then folders that are empty and not new."""
        now, keep = time.time(), self._keep_seconds if keep_seconds is None else keep_seconds
        found: list[tuple[float, int, Path]] = []
        for path in self.files():
            with contextlib.suppress(OSError):  # somebody else has removed it
                status = path.stat()
                found.append((max(status.st_mtime, status.st_atime), status.st_size, path))
        total = sum(size for _, size, _ in found)
        for used, size, path in sorted(found, key=lambda entry: entry[0]):
            if now - used >= keep or total > self._most_bytes:
                with contextlib.suppress(OSError):
                    path.unlink()
                total -= size
        for folder in sorted((p for p in self.path.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):  # not empty, or gone
                if now - folder.stat().st_mtime >= min(keep, SWEEP_EVERY_SECONDS):
                    folder.rmdir()

    def _sweep_now_and_then(self) -> None:
        while not self._closed.wait(min(SWEEP_EVERY_SECONDS, self._keep_seconds / 4)):
            self.sweep()


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Temporary files of this process go into the folder, Gradio's and those of libraries alike."""
    names = ("GRADIO_TEMP_DIR", "TMPDIR")
    before, directory = {name: os.environ.get(name) for name in names}, tempfile.tempdir
    os.environ |= dict.fromkeys(names, str(folder))
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = directory
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
