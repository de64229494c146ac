"""One annotated picture, and the list of them that a protocol's file holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.train.metrics import SIDE, Box, box_weights


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something that sounds in a picture.

    Attributes:
        boxes: around it, 0..1 of the frame; of several annotators where the protocol has several.
        label: its class; empty where the annotations name none.
        sound_key: the media whose sound it makes; None for the sound of the picture's own media.
        sound_seconds: when in that media; None for its middle.
    """

    boxes: tuple[Box, ...]
    label: str = ""
    sound_key: str | None = None
    sound_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class AnnotatedSample:
    """A picture with one source, or with two.

    Attributes:
        key: names the media, see :class:`avol.train.protocols.media.MediaFolder`.
        time_seconds: of the picture, from the start of the media; None for its middle.
        sources: what sounds in it.
        group: source video; samples of one group are not independent.
        box_weight: what one box adds to a pixel, 1/2 where boxes are of several annotators.
    """

    key: str
    time_seconds: float | None
    sources: tuple[Source, ...]
    group: str
    box_weight: float = 1.0

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Of all sources."""
        return tuple(box for source in self.sources for box in source.boxes)

    @property
    def label(self) -> str:
        """Class of the source; of several, joined."""
        return " + ".join(source.label for source in self.sources)

    def weights(self, side: int = SIDE) -> NDArray[np.float64]:
        """How much finding each pixel counts: float64 ``side x side``."""
        return box_weights(self.boxes, box_weight=self.box_weight, side=side)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What a protocol's file holds.

    Attributes:
        protocol: its name.
        path: of the file or folder.
        sha256: of what was read.
        samples: in the order of the file.
        clipped: boxes that reached out of the frame and were cut off at its edge.
        dropped: boxes without an area, which were left out.
        without_box: samples that have no box: those that remain in ``samples`` count as not found, as in the published
            evaluation of their protocol; the others were left out, likewise.
    """

    protocol: str
    path: Path
    sha256: str
    samples: list[AnnotatedSample]
    clipped: int = 0
    dropped: int = 0
    without_box: int = 0


class BoxMender:
    """Checks boxes as files give them; counts what had to be mended."""

    def __init__(self) -> None:
        self.clipped = self.dropped = 0

    def mend(self, values: object, where: str) -> list[Box]:
        """The box ``x0, y0, x1, y1`` cut off at the frame's edges, in a list; an empty list if it has no area.

        Raises:
            AvolError: not four finite numbers.
        """
        if not is_numbers(values, 4):
            raise AvolError(f"{where}: a box is {str(values)[:80]}, not four finite numbers; mend the file.")
        assert isinstance(values, Sequence)
        x0, y0, x1, y1 = (min(1.0, max(0.0, float(value))) for value in values)
        # Sums of fractions miss 1 by a rounding error: that is no box out of the frame.
        self.clipped += any(not -1e-6 <= value <= 1 + 1e-6 for value in values)
        if x1 <= x0 or y1 <= y0:
            self.dropped += 1
            return []
        return [(x0, y0, x1, y1)]


def is_numbers(values: object, count: int) -> bool:
    """Whether a JSON value is a list of so many finite numbers."""
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    )
