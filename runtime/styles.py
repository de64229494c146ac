"""How a video shows what was found: heat over the picture, lines around it, a box, or both pictures side by side."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.canvas import BLACK, WHITE, Canvas, Colour
from avol.runtime.heat_layer import COLOUR_MAPS, DEFAULT_COLOUR_MAP, VISIBLE_HEAT, heat_colours, smooth_heat
from avol.runtime.media.picture import even, plane_pixels
from avol.runtime.opencv import cv2
from avol.runtime.overlay import (
    OPACITY,
    Overlay,
    blank_for,
    drawable_copy,
    matrix_of,
    to_limited_yuv420p,
)

STYLES = ("overlay", "contour", "box", "side-by-side", "heatmap")
DEFAULT_STYLE = "overlay"
CONTOUR_HEATS = (0.35, 0.55, 0.75)  # where lines are drawn
LEGEND_AREA = (0.03, 0.94, 0.3, 0.03)  # left, top, width, height, shares of the picture
LEGEND_STEPS = 64
BOX_SHARE = 0.85  # of the colour map: the box has the colour of much heat

Box = tuple[float, float, float, float]
Heat = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """How the picture looks.

    Attributes:
        style: one of :data:`STYLES`; ``heatmap`` shows the map without the picture.
        colour_map: one of the overlay's.
        opacity: of the hottest place, 0..1; of styles that lay heat over the picture.
        legend: whether a bar in the corner tells what the colours mean.
    """

    style: str = DEFAULT_STYLE
    colour_map: str = DEFAULT_COLOUR_MAP
    opacity: float = OPACITY
    legend: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("style", self.style, STYLES), ("colour_map", self.colour_map, COLOUR_MAPS)):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, allowed are {', '.join(allowed)}")


class Painter:
    """Draws what was found into pictures; give it those of one video in their order."""

    def __init__(self, options: StyleOptions) -> None:
        self.options = options
        alone = options.style == "heatmap"
        self._overlay = Overlay(opacity=1.0 if alone else options.opacity, colour_map=options.colour_map)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is drawn for pictures of a size, pixels, even."""
        return even(width) * (2 if self.options.style == "side-by-side" else 1), even(height)

    def draw(self, picture: av.VideoFrame, heat: Heat | None, box: Box | None) -> av.VideoFrame:
        """Draw one picture.

        Args:
            picture: upright, in any pixel format; it is not changed.
            heat: float32 ``GH x GW`` in 0..1 over the whole picture, or None: nothing sounds.
            box: left, top, right, bottom of the source, 0..1 of the picture.

        Returns:
            yuv420p of limited range and even size, with the picture's time and colour tags.
        """
        source = to_limited_yuv420p(picture)
        drawn = self._drawn(source, heat, box)
        if self.options.legend:
            drawn = drawn if drawn is not source else drawable_copy(source)
            draw_legend(Canvas(drawn, matrix_of(source)), self.options.colour_map)
        return drawn

    def _drawn(self, source: av.VideoFrame, heat: Heat | None, box: Box | None) -> av.VideoFrame:
        style = self.options.style
        if style == "overlay":
            return self._overlay.draw(source, heat)
        if style == "heatmap":
            return self._overlay.draw(_black(source), heat)
        if style == "side-by-side":
            return _beside(drawable_copy(source), self._overlay.draw(source, heat))
        result = drawable_copy(source)
        canvas = Canvas(result, matrix_of(source), (0, 0, source.width, source.height))
        if style == "contour" and heat is not None:
            draw_contours(canvas, heat, self.options.colour_map)
        if style == "box" and box is not None:
            canvas.rectangle(box, colour_of(BOX_SHARE, self.options.colour_map))
        return result


def colour_of(share: float, colour_map: str) -> Colour:
    """RGB 0..1 of a share 0..1 of the visible heat."""
    red, green, blue = heat_colours(np.array([share]), colour_map)[0].tolist()
    return red, green, blue


def draw_contours(canvas: Canvas, heat: Heat, colour_map: str) -> None:
    """Lines of equal heat, as on a map of hills; heat that touches the rim is closed along it."""
    # At the picture's own size: at the map's, the lines would be stairs.
    smooth = cv2.resize(smooth_heat(heat), canvas.size, interpolation=cv2.INTER_LINEAR)
    framed = np.pad(smooth, 1)  # a line around what reaches the rim
    low, high = VISIBLE_HEAT
    for level in CONTOUR_HEATS:
        found, _ = cv2.findContours((framed >= level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        size = np.array([smooth.shape[1], smooth.shape[0]], np.float32)
        paths = [np.clip((path[:, 0, :] - 0.5) / size, 0.0, 1.0).astype(np.float32) for path in found]
        if paths:
            canvas.lines(paths, colour_of((level - low) / (high - low), colour_map), closed=True)


def draw_legend(canvas: Canvas, colour_map: str) -> None:
    """A bar of the colours in the lower left corner, from what is not lit to what surely sounds."""
    left, top, width, height = LEGEND_AREA
    shares = np.linspace(0.0, 1.0, LEGEND_STEPS)
    for step, share in enumerate(shares):
        edges = left + width * np.array([step, step + 1]) / LEGEND_STEPS
        canvas.fill((edges[0], top, edges[1], top + height), colour_of(float(share), colour_map))
    for text, x in (("less", left), ("more likely the source", left + 0.3 * width)):
        canvas.text(text, (x, top - 0.015), WHITE, height=0.022)


def _black(source: av.VideoFrame) -> av.VideoFrame:
    blank = blank_for(source, source.width, source.height)
    Canvas(blank, matrix_of(source)).fill((0.0, 0.0, 1.0, 1.0), BLACK)
    return blank


def _beside(left: av.VideoFrame, right: av.VideoFrame) -> av.VideoFrame:
    """Two pictures of one size in one."""
    result = blank_for(left, 2 * left.width, left.height)
    for target, one, other in zip(result.planes, left.planes, right.planes, strict=True):
        plane_pixels(target)[:] = np.hstack([plane_pixels(one), plane_pixels(other)])
    return result
