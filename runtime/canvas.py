"""Lines and letters drawn on the YUV planes of a picture, in colours that are given in RGB."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.media.picture import plane_pixels
from avol.runtime.opencv import cv2

Plane = NDArray[np.uint8]
Colour = tuple[float, float, float]  # red, green, blue, 0..1
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

WHITE: Colour = (1.0, 1.0, 1.0)
BLACK: Colour = (0.0, 0.0, 0.0)
LINES_PER_HEIGHT = 240  # the picture's lines per pixel of thickness: lines look alike in all sizes
FONT_HEIGHT_PIXELS = 22  # of capital letters at scale 1, of OpenCV's FONT_HERSHEY_SIMPLEX

# Weights of red and blue in the luma (ITU-R BT.601, BT.709, BT.2020, SMPTE 240M, FCC), by H.273 matrix number.
LUMA_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
LUMA_WEIGHTS |= {9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}


def limited_yuv(rgb: NDArray[np.float64], matrix: int) -> NDArray[np.float64]:
    """RGB ``... x 3`` in 0..1 to Y, U and V of limited range (ITU-T H.273, 8.3)."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    weight_red, weight_blue = LUMA_WEIGHTS[matrix]
    luma = weight_red * red + (1.0 - weight_red - weight_blue) * green + weight_blue * blue
    chroma_blue = 128.0 + 112.0 * (blue - luma) / (1.0 - weight_blue)
    chroma_red = 128.0 + 112.0 * (red - luma) / (1.0 - weight_red)
    return np.stack([16.0 + 219.0 * luma, chroma_blue, chroma_red], axis=-1)


@dataclass(frozen=True)
class Canvas:
    """A part of a yuv420p picture to draw on; coordinates are 0..1 of it, x right and y down.

    Attributes:
        picture: yuv420p, limited range, even size; it is drawn on.
        matrix: the H.273 number of its colour matrix.
        area: left, top, width and height in pixels, even numbers; None for the whole picture.
    """

    picture: av.VideoFrame
    matrix: int
    area: tuple[int, int, int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return (self.picture.width, self.picture.height) if self.area is None else self.area[2:]

    @property
    def thickness(self) -> int:
        """Of lines, pixels."""
        return max(1, round(self.picture.height / LINES_PER_HEIGHT))

    def fill(self, box: Box, colour: Colour) -> None:
        """Paint from left, top to right, bottom."""
        for (plane, _), value in zip(self._planes(), self._values(colour), strict=True):
            height, width = plane.shape
            left, top, right, bottom = (round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True))
            plane[top:bottom, left:right] = round(value)

    def lines(self, paths: Sequence[NDArray[np.float32]], colour: Colour, *, closed: bool, rim: bool = True) -> None:
        """Draw lines through points ``N x 2``; a dark rim keeps them visible on anything bright."""
        if rim:
            self._draw_lines(paths, BLACK, closed=closed, thickness=3 * self.thickness)
        self._draw_lines(paths, colour, closed=closed, thickness=self.thickness)

    def polygon(self, path: NDArray[np.float32], colour: Colour) -> None:
        """Fill the area within points ``N x 2``."""
        for (plane, _), value in zip(self._planes(), self._values(colour), strict=True):
            cv2.fillPoly(plane, [_pixels(path, plane)], round(value))

    def rectangle(self, box: Box, colour: Colour) -> None:
        """Draw the edges of left, top, right, bottom."""
        left, top, right, bottom = box
        inset = np.array([1.5 * self.thickness / side for side in self.size])  # at the picture's rim it stays visible
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)
        self.lines([np.clip(corners, inset, 1 - inset).astype(np.float32)], colour, closed=True)

    def text(self, text: str, position: Point, colour: Colour, *, height: float) -> None:
        """Write a line of ASCII letters from ``position``, its foot; ``height``: the capitals' share of the canvas."""
        width_pixels, height_pixels = self.size
        letters, rim, reach = _letters(text, height * height_pixels / FONT_HEIGHT_PIXELS, self.thickness)
        # Even corners, so that the planes of colours meet the plane of light.
        left = round(position[0] * width_pixels / 2) * 2 - reach
        top = round((position[1] * height_pixels - letters.shape[0] + 2 * reach) / 2) * 2 - reach
        left, top = (max(0, corner // 2 * 2) for corner in (left, top))
        for ink, cover in ((BLACK, rim), (colour, letters)):
            for (plane, share), value in zip(self._planes(), self._values(ink), strict=True):
                corner_x, corner_y = round(left * share), round(top * share)
                size = (round(cover.shape[1] * share), round(cover.shape[0] * share))
                part = plane[corner_y : corner_y + size[1], corner_x : corner_x + size[0]]
                weight = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)[: part.shape[0], : part.shape[1]]
                part[:] = np.round(part + weight * (value - part))

    def _draw_lines(
        self, paths: Sequence[NDArray[np.float32]], colour: Colour, *, closed: bool, thickness: int
    ) -> None:
        for (plane, share), value in zip(self._planes(), self._values(colour), strict=True):
            points = [_pixels(path, plane) for path in paths]
            cv2.polylines(plane, points, closed, round(value), max(1, round(thickness * share)))

    def _planes(self) -> list[tuple[Plane, float]]:
        """The planes' parts, and the share of the picture's pixels that they have along a side."""
        parts = []
        for plane, share in zip(self.picture.planes, (1, 2, 2), strict=True):
            pixels = plane_pixels(plane)
            if self.area is not None:
                left, top, width, height = (number // share for number in self.area)
                pixels = pixels[top : top + height, left : left + width]
            parts.append((pixels, 1 / share))
        return parts

    def _values(self, colour: Colour) -> list[float]:
        values: list[float] = limited_yuv(np.array(colour), self.matrix).tolist()
        return values


@functools.lru_cache(maxsize=16)
def _letters(text: str, scale: float, rim: int) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Cover 0..1 of a line of letters and of its rim, and how far both reach beyond the text, pixels.

    The rim is grown from the letters: written with a thicker pen, letters would also stand wider apart.
    """
    thickness, reach = max(1, round(2 * scale)), 2 * rim + 2
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    sides = (height + below + 2 * reach, width + 2 * reach)
    ink = np.zeros(tuple(side + side % 2 for side in sides), np.uint8)
    cv2.putText(ink, text, (reach, reach + height), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    grown = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1)))
    return ink.astype(np.float32) / np.float32(255), grown.astype(np.float32) / np.float32(255), reach


def _pixels(path: NDArray[np.float32], plane: Plane) -> NDArray[np.int32]:
    """Points 0..1 as whole pixels: OpenCV's antialiasing would mix a line's value with the plane's, not the colours."""
    size = np.array([plane.shape[1], plane.shape[0]], np.float32)
    return np.round(path * size - 0.5).astype(np.int32)
