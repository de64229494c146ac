"""Flat vector drawings: lists of filled outlines that can be turned, moved, measured and painted at any size."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # P x 2: x right, y down
Colour = tuple[int, int, int]  # RGB, 0..255
SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Shape:
    """One filled outline."""

    points: Points
    colour: Colour


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """An RGB colour from hue (turns round at 1), saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def polygon(colour: Colour, *points: tuple[float, float]) -> Shape:
    """Straight edges between corners."""
    return Shape(np.array(points, dtype=np.float64), colour)


def ellipse(
    colour: Colour,
    x: float,
    y: float,
    radius_x: float,
    radius_y: float | None = None,
    *,
    turn: float = 0.0,
    first: float = 0.0,
    last: float = 1.0,
) -> Shape:
    """An ellipse (a circle without ``radius_y``), turned by ``turn`` revolutions, or the part ``first..last`` of it."""
    angles = 2 * math.pi * np.linspace(first, last, 29)
    unturned = np.stack([radius_x * np.cos(angles), (radius_y or radius_x) * np.sin(angles)], axis=1)
    return Shape(unturned @ rotation(turn).T + (x, y), colour)


def stroke(colour: Colour, width: float, *points: tuple[float, float]) -> Shape:
    """A line of constant width through points that turn gently."""
    line = np.array(points, dtype=np.float64)
    directions = np.gradient(line, axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    side = np.stack([-directions[:, 1], directions[:, 0]], axis=1) * (width / 2)
    return Shape(np.concatenate([line + side, (line - side)[::-1]]), colour)


def ring(colour: Colour, x: float, y: float, radius_x: float, radius_y: float, width: float) -> Shape:
    """The outline of an ellipse as a line of constant width."""
    outer = ellipse(colour, x, y, radius_x + width / 2, radius_y + width / 2).points
    inner = ellipse(colour, x, y, radius_x - width / 2, radius_y - width / 2).points
    return Shape(np.concatenate([outer, inner[::-1]]), colour)


def rotation(turns: float) -> Points:
    """The 2 x 2 matrix of a turn by so many revolutions, clockwise on the screen."""
    angle = 2 * math.pi * turns
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


class Drawing:
    """Shapes painted one over the other, scaled so that the farthest point is at distance 1 from the box's middle."""

    def __init__(self, shapes: list[Shape]) -> None:
        points = np.concatenate([shape.points for shape in shapes])
        points = points - (points.min(axis=0) + points.max(axis=0)) / 2
        self.points: Points = points / np.linalg.norm(points, axis=1).max()
        self.colours = [shape.colour for shape in shapes]
        self.splits = np.cumsum([len(shape.points) for shape in shapes])[:-1]

    def paint(self, picture: NDArray[np.uint8], placed: Points) -> None:
        """Paint into a uint8 ``H x W x 3`` picture; ``placed`` are :attr:`points` moved to 0..1 of the picture."""
        height, width = picture.shape[:2]
        # OpenCV counts from the centre of the first pixel.
        pixels = (placed * (width, height) - 0.5) * (1 << SUBPIXEL_BITS)
        for outline, colour in zip(np.split(np.rint(pixels).astype(np.int32), self.splits), self.colours, strict=True):
            cv2.fillPoly(picture, [outline], colour, cv2.LINE_AA, SUBPIXEL_BITS)
