"""Scalars and pictures for TensorBoard, where that is installed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.atomic import write_error

BOARD_FOLDER = "tensorboard"


class Board:
    """A run's folder ``tensorboard``; does nothing where TensorBoard is not installed.

    Args:
        out: folder of the run.
        first_step: what was shown of later steps is taken back.

    Raises:
        AvolError: it cannot be written (by all methods).
    """

    def __init__(self, out: Path, first_step: int) -> None:
        self.path = out / BOARD_FOLDER
        self.writer: Any = None
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            return
        self._hook = threading.excepthook
        threading.excepthook = self._on_thread_error
        try:
            with self._writing():
                self.writer = SummaryWriter(str(self.path), purge_step=first_step + 1)
        finally:
            if self.writer is None:
                threading.excepthook = self._hook

    def _on_thread_error(self, error: threading.ExceptHookArgs) -> None:
        """A full disk shows in TensorBoard's own thread, which prints a traceback; its next call says it again."""
        if not (isinstance(error.exc_value, OSError) and type(error.thread).__module__.startswith("tensorboard.")):
            self._hook(error)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(self.path, error) from None

    def add_scalars(self, step: int, values: dict[str, float]) -> None:
        """Values by name."""
        if self.writer is not None:
            with self._writing():
                for name, value in values.items():
                    self.writer.add_scalar(name, value, step)

    def add_pictures(self, step: int, name: str, pictures: NDArray[np.uint8]) -> None:
        """uint8 ``N x H x W x 3``."""
        if self.writer is not None:
            with self._writing():
                self.writer.add_images(name, pictures, step, dataformats="NHWC")

    def close(self) -> None:
        """Write out what is left; what cannot be written any more has been reported, or is for the eye alone."""
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
            threading.excepthook = self._hook
