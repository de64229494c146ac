"""What is behind the objects: gradients, landscapes, rooms, colour clouds and clutter, with grain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avol.train.scenes.drawing import SUBPIXEL_BITS, Colour, Points, Shape, ellipse, hsv, polygon

Picture = NDArray[np.uint8]
BACKGROUNDS = ("gradient", "landscape", "room", "clouds", "clutter", "stage")


def paint_background(style: str, seed: tuple[int, ...], height: int, width: int) -> Picture:
    """A background of one of :data:`BACKGROUNDS`: uint8 ``H x W x 3`` RGB.

    What is painted is the same at every size, but for the grain, which is one pixel wide.
    """
    rng = np.random.default_rng(seed)
    hue, value = rng.uniform(), rng.uniform(0.35, 0.95)
    if style == "landscape":
        picture, shapes = _vertical(height, width, hsv(0.58, 0.45, 0.85), hsv(0.55, 0.12, 0.98)), _hills(rng)
    elif style == "room":
        picture, shapes = _vertical(height, width, hsv(hue, 0.25, value), hsv(hue, 0.2, value - 0.1)), _room(rng, hue)
    elif style == "stage":
        picture, shapes = _vertical(height, width, hsv(0.7, 0.6, 0.2), hsv(0.76, 0.5, 0.42)), _stage()
    elif style == "clouds":
        picture, shapes = _clouds(rng, hue, height, width), []
    else:
        ends = hsv(hue, rng.uniform(0.1, 0.5), value), hsv(hue + rng.uniform(-0.15, 0.15), 0.3, rng.uniform(0.35, 0.95))
        picture = _vertical(height, width, *ends)
        shapes = _clutter(rng) if style == "clutter" else []
    for shape in shapes:
        pixels = (shape.points * (width, height) - 0.5) * (1 << SUBPIXEL_BITS)
        cv2.fillPoly(picture, [np.rint(pixels).astype(np.int32)], shape.colour, cv2.LINE_AA, SUBPIXEL_BITS)
    return _grain(picture, rng, 2.0 if style == "stage" else rng.uniform(0, 7))


def _vertical(height: int, width: int, top: Colour, bottom: Colour) -> Picture:
    share = ((np.arange(height) + 0.5) / height)[:, None, None]
    column = np.array(top) * (1 - share) + np.array(bottom) * share
    return np.ascontiguousarray(np.broadcast_to(column, (height, width, 3)).round().astype(np.uint8))


def _clouds(rng: np.random.Generator, hue: float, height: int, width: int) -> Picture:
    """Soft blotches of neighbouring colours."""
    colours = np.array([hsv(hue + rng.uniform(-0.12, 0.12), 0.35, rng.uniform(0.35, 0.9)) for _ in range(24)])
    coarse = colours.reshape(4, 6, 3).astype(np.float32)
    picture: Picture = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(
        np.uint8
    )
    return picture


def _hills(rng: np.random.Generator) -> list[Shape]:
    shapes = [ellipse(hsv(0.13, 0.3, 1.0), rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.25), 0.05, 0.07)]
    xs = np.linspace(0, 1, 40)
    for layer, horizon in enumerate((0.5, 0.64, 0.8)):
        waves = 0.06 * np.sin(2 * np.pi * (rng.uniform(0.6, 1.6) * xs + rng.uniform())) + 0.02 * np.sin(
            11 * xs + 6 * rng.uniform()
        )
        ridge: Points = np.stack([xs, horizon + waves], axis=1)
        colour = hsv(rng.uniform(0.24, 0.4), 0.35 + 0.1 * layer, 0.75 - 0.13 * layer)
        shapes.append(Shape(np.concatenate([ridge, [[1, 1.1], [0, 1.1]]]), colour))
    return shapes


def _room(rng: np.random.Generator, hue: float) -> list[Shape]:
    floor, board = rng.uniform(0.6, 0.8), hsv(0.07, 0.45, rng.uniform(0.35, 0.65))
    light = hsv(0.08, 0.1, 0.95)
    shapes = [
        polygon(board, (0, floor), (1, floor), (1, 1.1), (0, 1.1)),
        polygon(light, (0, floor - 0.02), (1, floor - 0.02), (1, floor), (0, floor)),
    ]
    for x in rng.uniform(0.05, 0.8, 2):
        wide, high, y = rng.uniform(0.1, 0.2), rng.uniform(0.15, 0.3), rng.uniform(0.06, 0.2)
        inner = hsv(hue + rng.uniform(), 0.4, rng.uniform(0.4, 0.9))
        shapes.append(polygon(light, (x, y), (x + wide, y), (x + wide, y + high), (x, y + high)))
        shapes.append(
            polygon(
                inner,
                (x + 0.015, y + 0.02),
                (x + wide - 0.015, y + 0.02),
                (x + wide - 0.015, y + high - 0.02),
                (x + 0.015, y + high - 0.02),
            )
        )
    return shapes


def _clutter(rng: np.random.Generator) -> list[Shape]:
    shapes = []
    for _ in range(int(rng.integers(8, 20))):
        x, y, radius_x, radius_y = *rng.uniform(0, 1, 2), *rng.uniform(0.03, 0.16, 2)
        outline = ellipse(
            hsv(rng.uniform(), rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.95)),
            x,
            y,
            radius_x,
            radius_y,
            turn=rng.uniform(),
        )
        step = int(rng.choice((1, 4, 7, 9)))  # an ellipse, a heptagon, a square or a triangle
        shapes.append(Shape(outline.points[:-1:step], outline.colour))
    return shapes


def _stage() -> list[Shape]:
    """An evening stage: two cones of light on boards before a curtain."""
    shapes = []
    for fold in range(18):
        x = fold / 18
        shapes.append(
            polygon(hsv(0.94, 0.6, 0.3 + 0.07 * (fold % 2)), (x, 0), (x + 1 / 18, 0), (x + 1 / 18, 0.74), (x, 0.74))
        )
    shapes.append(polygon(hsv(0.07, 0.5, 0.42), (0, 0.72), (1, 0.72), (1, 1.1), (0, 1.1)))
    shapes += [
        polygon(hsv(0.07, 0.5, 0.37), (x, 0.72), (x + 0.004, 0.72), (1.5 * x - 0.246, 1.1), (1.5 * x - 0.256, 1.1))
        for x in np.linspace(0.02, 0.98, 11)
    ]
    shapes += [ellipse(hsv(0.09, 0.42, 0.58), x, 0.86, 0.2, 0.085) for x in (0.27, 0.73)]
    return [*shapes, polygon(hsv(0.94, 0.7, 0.22), (0, 0), (1, 0), (1, 0.07), (0, 0.07))]


def _grain(picture: Picture, rng: np.random.Generator, strength: float) -> Picture:
    grain = rng.integers(-127, 128, picture.shape, dtype=np.int8).astype(np.int16)
    grain = grain * int(strength * 16) >> 10
    grained: Picture = np.clip(picture.astype(np.int16) + grain, 0, 255).astype(np.uint8)
    return grained
