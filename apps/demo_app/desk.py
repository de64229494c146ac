"""What stands between the page and the handlers: whose request it is, what of it is cancelled, and what went wrong."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avol.apps.demo_app.folder import PrivateFolder
from avol.apps.demo_app.limits import Limits
from avol.apps.demo_app.live import LiveSessions
from avol.runtime import Localiser
from avol.runtime.errors import AvolError
from avol.runtime.system import System


@dataclass
class Desk:
    """Everything that the requests of all visitors share.

    Attributes:
        system: the model, whose calls take turns.
        folder: where files live.
        limits: what is too much.
        card: what there is to know of the model, as Markdown.
        live: buffers of cameras and microphones.
        localiser: the same model, for single pictures.
    """

    system: System
    folder: PrivateFolder
    limits: Limits = field(default_factory=Limits)
    card: str = ""
    live: LiveSessions = field(default_factory=LiveSessions)

    def __post_init__(self) -> None:
        self.localiser = Localiser(system=self.system)
        self._turn = threading.Lock()
        self._running: defaultdict[str, set[threading.Event]] = defaultdict(set)
        self._results: defaultdict[str, dict[str, Path]] = defaultdict(dict)

    @contextlib.contextmanager
    def job(self, visitor: str, kind: str, *inputs: Path) -> Iterator[tuple[Path, Callable[[], bool]]]:
        """One request: a folder for its results, and the question whether its visitor has cancelled it.

        The results stay until the visitor's next ones of this kind are complete; those of a request that fails are
        removed. ``inputs`` count as used.
        """
        for path in inputs:
            self.folder.touch(path)
        cancelled, folder = threading.Event(), self.folder.new_results()
        with self._turn:
            self._running[visitor].add(cancelled)
        try:
            yield folder, cancelled.is_set
        except BaseException:
            self.folder.remove(folder)
            raise
        else:
            with self._turn:
                earlier = self._results[visitor].get(kind)
                self._results[visitor][kind] = folder
            if earlier is not None:
                self.folder.remove(earlier)
        finally:
            with self._turn:
                self._running[visitor].discard(cancelled)
                if not self._running[visitor]:
                    del self._running[visitor]
            # PyAV's containers refer to themselves: encoders would keep their pictures, 10 MB of a small video, until
            # Python happens to look.
            gc.collect()

    def cancel(self, visitor: str) -> int:
        """Stop a visitor's running requests; gives their number."""
        with self._turn:
            running = list(self._running.get(visitor, ()))
        for cancelled in running:
            cancelled.set()
        return len(running)

    def leave(self, visitor: str) -> None:
        """A visitor has gone: what runs is stopped, what was made is removed."""
        self.cancel(visitor)
        self.live.forget(visitor)
        with self._turn:
            results = self._results.pop(visitor, {})
        for path in results.values():
            self.folder.remove(path)


def plain(error: AvolError | str, *paths: Path | None) -> str:
    """A message for the page: files are called what the visitor calls them, not where the server keeps them."""
    text = str(error)
    for path in paths:
        if path is not None:
            text = text.replace(str(path), path.name)
    return text
