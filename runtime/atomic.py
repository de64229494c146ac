"""Results that appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from avol.runtime.errors import AvolError

LONGEST_NAME_BYTES = 255  # of a file name on the file systems in use
TOKEN_LETTERS = 8  # hexadecimal, of hidden names


class AtomicOutput:
    """A file that is written under a hidden name beside its final one and renamed when it is complete.

    Leaving the context without :meth:`commit` (an error, Ctrl-C) removes the unfinished file; a result of an earlier
    run stays as it was. What a killed run has left goes when the next one with the same result starts. Several results
    that belong together are committed with :func:`commit_all`.

    Args:
        path: the final name. Its directory must exist; a symbolic link is followed.

    Attributes:
        path: the name the user gave, for messages.
        temporary: where to write; it has the suffix of ``path``, by which some libraries choose a format.

    Raises:
        AvolError: the directory is missing or not writable, or something that is not a file has the name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Renaming over a link would replace the link and leave the file it points to behind.
        self._target = Path(os.path.realpath(path))
        directory = self._target.parent
        try:
            self._target.stat()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:  # a name that is too long, a directory that may not be entered
            raise write_error(path, error) from None
        if not directory.is_dir():
            raise AvolError(f"{path}: the directory {directory} does not exist. Create it or choose another one.")
        if self._target.exists() and not self._target.is_file():
            raise AvolError(f"{path}: exists and is not a regular file. Choose another name.")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise AvolError(f"{path}: the directory {directory} is not writable. Choose another one.")
        token = os.urandom(TOKEN_LETTERS // 2).hex()  # the module secrets takes 6 ms to import
        self.temporary = directory / _hidden_name(self._target, token)
        # Holds what had the name until all have theirs. Its name is no orphan's: after a kill it may be all there is.
        self._earlier = directory / _hidden_name(self._target, token, kind="earlier")
        self._held: int | None = None

    def __enter__(self) -> Self:
        _remove_orphans(self._target)
        try:
            self._held = _create_and_hold(self.temporary)
        except OSError as error:
            raise write_error(self.path, error) from None
        except BaseException:  # Ctrl-C
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def commit(self) -> None:
        """Give the file its final name.

        Raises:
            AvolError: the file did not reach the disk, or the rename was refused.
        """
        commit_all(self)


def commit_all(*outputs: AtomicOutput) -> None:
    """Give several complete files their final names, all or none: the first one only when all have reached the disk.

    Raises:
        AvolError: a file did not reach the disk, or a rename was refused. What was there before is there again.
    """
    for output in outputs:
        _attempt(output, lambda temporary=output.temporary: _flush_to_disk(temporary))  # type: ignore[misc]
    with contextlib.ExitStack() as undo:
        for output in outputs:
            _attempt(output, lambda o=output: _replace(o, undo))  # type: ignore[misc]
        undo.pop_all()
    for output in outputs:
        with suppress(OSError):
            output._earlier.unlink(missing_ok=True)


def _replace(output: AtomicOutput, undo: contextlib.ExitStack) -> None:
    """Rename one file; ``undo`` learns how to bring back what had the name."""
    existed = output._target.exists()
    if existed:
        try:
            os.link(output._target, output._earlier)
        except OSError:  # a file system without links: for a moment nothing has the name
            output._target.replace(output._earlier)
        undo.callback(_bring_back, output)
    output.temporary.replace(output._target)
    if not existed:
        undo.callback(output._target.unlink, missing_ok=True)


def _bring_back(output: AtomicOutput) -> None:
    output._earlier.replace(output._target)
    output._earlier.unlink(missing_ok=True)  # renaming one link of a file to another leaves both


def write_error(path: Path, error: OSError) -> AvolError:
    """The user's message for a failed write; ``path`` is the name the user knows."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.ENAMETOOLONG:
        return AvolError(f"{path}: cannot be written: {reason}. Choose a shorter one.")
    return AvolError(f"{path}: cannot be written: {reason}. Free some space, or choose another directory.")


def _attempt(output: AtomicOutput, action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        raise write_error(output.path, error) from None


def _flush_to_disk(path: Path) -> None:
    """Wait for the disk: some file systems report a full disk or a broken connection only here."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden_name(target: Path, token: str, *, kind: str = "partial") -> str:
    ending = f".{token}.{kind}{target.suffix}"
    room = LONGEST_NAME_BYTES - 1 - len(os.fsencode(ending))
    return f".{os.fsdecode(os.fsencode(target.stem)[: max(room, 0)])}{ending}"


def _create_and_hold(path: Path) -> int:
    """Create a file with a lock on it, which tells others that it is no orphan; the lock goes with the process."""
    while True:
        held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), path.stat()):
                return held
        except (BlockingIOError, FileNotFoundError):
            pass  # between the two calls somebody took it for an orphan
        except OSError:
            return held  # a file system without locks: nobody finds orphans there either
        os.close(held)


def _remove_orphans(target: Path) -> None:
    """Remove the unfinished files that killed runs with the same result have left: those that nobody holds."""
    token = "x" * TOKEN_LETTERS
    before, _, after = _hidden_name(target, token).rpartition(token)
    pattern = re.compile(re.escape(before) + f"[0-9a-f]{{{TOKEN_LETTERS}}}" + re.escape(after))
    with suppress(OSError):
        for path in target.parent.iterdir():
            if pattern.fullmatch(path.name):
                _remove_if_orphan(path)


def _remove_if_orphan(path: Path) -> None:
    with suppress(OSError):
        # Not to wait for the other side of what is no file.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
