"""Plates in oblique projection: a layer's output as a box whose face is its map and whose thickness its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

SLANT = (0.5 * math.cos(math.radians(42)), 0.5 * math.sin(math.radians(42)))  # of an inch of a map's width
INCHES_PER_CHANNEL = 0.00075
THINNEST_INCHES = 0.025  # a vector is one row high: less than its outline
EDGE = "#3a3a3a"
Point = tuple[float, float]


@dataclass(frozen=True)
class Plate:
    """A box of ``channels x height x width``; ``scale`` is in inches per row or column of the map."""

    channels: int
    height: int
    width: int
    scale: float

    @property
    def front(self) -> tuple[float, float]:
        """Thickness and height in inches of the side that faces the reader."""
        return self.channels * INCHES_PER_CHANNEL, max(self.height * self.scale, THINNEST_INCHES)

    @property
    def depth(self) -> Point:
        """Where the far side lies, seen from the near one, in inches."""
        return self.width * self.scale * SLANT[0], self.width * self.scale * SLANT[1]

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the whole drawing in inches."""
        return self.front[0] + self.depth[0], self.front[1] + self.depth[1]


def draw_plate(axes: Axes, plate: Plate, x: float, y: float, colour: str, *, name: str) -> None:
    """Draw a box that stands at ``x``, ``y``: its side, its top, and the face of its map."""
    (thick, high), (dx, dy) = plate.front, plate.depth
    faces = {
        1.0: [(x, y), (x + thick, y), (x + thick, y + high), (x, y + high)],
        1.25: [(x, y + high), (x + thick, y + high), (x + thick + dx, y + high + dy), (x + dx, y + high + dy)],
        0.8: [(x + thick, y), (x + thick + dx, y + dy), (x + thick + dx, y + dy + high), (x + thick, y + high)],
    }
    for light, corners in faces.items():
        shade = np.clip(np.array(to_rgb(colour)) * light, 0, 1)
        axes.add_patch(
            Polygon(corners, facecolor=tuple(shade), edgecolor=EDGE, linewidth=0.45, joinstyle="round", gid=name)
        )


def draw_face(axes: Axes, pixels: NDArray[Any], plate: Plate, x: float, y: float, **look: object) -> None:
    """Lay a picture on the face of a plate; row 0 is at the top."""
    (thick, high), (dx, dy) = plate.front, plate.depth
    shear = Affine2D(np.array([[dx, 0, x + thick], [dy, high, y], [0, 0, 1]]))
    image = axes.imshow(pixels, extent=(0, 1, 0, 1), interpolation="bilinear", zorder=2, **look)  # type: ignore[arg-type]
    image.set_transform(shear + axes.transData)
    corners = [(x + thick, y), (x + thick + dx, y + dy), (x + thick + dx, y + dy + high), (x + thick, y + high)]
    axes.add_patch(Polygon(corners, fill=False, edgecolor=EDGE, linewidth=0.6, zorder=3))
