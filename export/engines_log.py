"""What a builder says while it works: errors for messages, layers for the check of types, progress for the user."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
LAYERS_HEADING = "Layers:"  # of the message in which a builder lists the layers of a finished engine


class BuildLog:
    """Methods of an ``ILogger``: keeps warnings and errors, and the list of layers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.layers = ""

    def log(self, severity: Any, message: str) -> None:  # noqa: ANN401 (of the bindings)
        """Called by the builder, from any thread."""
        if message.startswith(LAYERS_HEADING):
            self.layers += message
        elif severity.name in {"INTERNAL_ERROR", "ERROR"}:
            self.errors.append(message)
        elif severity.name == "WARNING":
            self.warnings.append(message)


class BuildProgress:
    """Methods of an ``IProgressMonitor``: a bar on a terminal for each outermost phase, and the way to stop a build."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.stop = threading.Event()
        self.phases: list[str] = []
        self._parents: dict[str, str | None] = {}
        self._bars: dict[str, Any] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by the builder; a phase inside another has the name of that one."""
        self.phases.append(phase_name)
        self._parents[phase_name] = parent_phase
        depth = 0
        while parent_phase is not None and depth < len(self._parents):
            parent_phase, depth = self._parents.get(parent_phase), depth + 1
        if depth <= 1:
            # disable=None: nothing is drawn where standard error is no terminal.
            bar = tqdm(total=num_steps, desc=f"{self.title}: {phase_name}", leave=False, disable=None, unit="step")
            self._bars[phase_name] = bar

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by the builder; gives False where it is to stop."""
        if bar := self._bars.get(phase_name):
            bar.update(step + 1 - bar.n)
        return not self.stop.is_set()

    def phase_finish(self, phase_name: str) -> None:
        """Called by the builder."""
        self._parents.pop(phase_name, None)
        if bar := self._bars.pop(phase_name, None):
            bar.close()

    def close(self) -> None:
        """Remove bars that a failed build left."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()


def as_native(native: Any, python: Any) -> Any:  # noqa: ANN401 (of the bindings)
    """An instance of one of the bindings' interfaces that has the methods and attributes of ``python``.

    Which module the interface comes from is only known when the program runs, so that no class statement can name it.
    """
    cls: Any = type(type(python).__name__, (type(python), native), {})
    instance = cls.__new__(cls)
    native.__init__(instance)
    vars(instance).update(vars(python))
    return instance


def run_interruptibly(work: Callable[[], T], stop: threading.Event) -> T:
    """Call ``work`` beside the main thread, so that Ctrl-C is seen at once; ``stop`` is then set and waited for."""
    result: list[T] = []
    failure: list[BaseException] = []

    def call() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=call, name="engine-builder")
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
    except BaseException:
        stop.set()
        if thread.ident is not None:  # it was started
            thread.join()
        raise
    if failure:
        raise failure[0]
    return result[0]
