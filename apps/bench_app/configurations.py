"""Which backends and precisions are measured: those named, or all that open here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avol.runtime.backends import DEVICES, PRECISIONS, open_backend
from avol.runtime.backends.backend import Backend
from avol.runtime.errors import AvolError, UnavailableError

Open = Callable[[Path, str, str], Backend]


@dataclass(frozen=True)
class Configuration:
    """A device and a precision that a model opens with."""

    device: str
    precision: str


@dataclass
class Choice:
    """What is measured, and what is not.

    Attributes:
        chosen: those that opened, in the order asked for.
        passed_over: those that did not, with the reason.
    """

    chosen: list[Configuration] = field(default_factory=list)
    passed_over: list[dict[str, str]] = field(default_factory=list)


def choose(
    folder: Path, devices: Sequence[str] | None, precisions: Sequence[str] | None, open_it: Open = open_backend
) -> Choice:
    """Open every configuration once: what cannot be had is known before anything is measured.

    Args:
        folder: of the model.
        devices: named by the user; None: all.
        precisions: named by the user; None: all.
        open_it: as :func:`avol.runtime.backends.open_backend`.

    Raises:
        AvolError: no usable model; a device that was named opens in none of the precisions; one that was named opens
            not in a precision that was named; or nothing opens at all.
    """
    choice = Choice()
    failures: list[AvolError] = []
    for device in devices or DEVICES[1:]:
        opened, of_device = False, list[AvolError]()
        for precision in precisions or PRECISIONS[1:]:
            try:
                with open_it(folder, device, precision):
                    choice.chosen.append(Configuration(device, precision))
                    opened = True
            except UnavailableError as error:
                if devices and precisions:
                    raise
                of_device.append(error)
                choice.passed_over.append({"device": device, "precision": precision, "reason": error.reason})
        if devices and not opened:
            if not precisions:
                open_it(folder, device, "auto").close()  # whose message names no precision
            raise of_device[0]
        failures += of_device
    if not choice.chosen:
        raise failures[0]  # the CPU's, if no device was named
    return choice
