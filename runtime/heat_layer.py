"""A heat map at the size of a picture: in colours, as what to keep of the picture and what to add to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avol.runtime.canvas import limited_yuv
from avol.runtime.media.picture import even, padded
from avol.runtime.opencv import cv2

Plane = NDArray[np.uint8]
Tables = tuple[Plane, Plane, Plane, Plane]  # of levels of heat: what to keep, what to add to Y, U and V

# Heat below the first value leaves the picture as it is, from the second on the heat has its full opacity.
VISIBLE_HEAT = (0.10, 0.90)
KEPT = 255  # the share of a picture that shows no heat
STEPS_PER_CELL = 16  # of the cubic interpolation, before the linear one to the size of the picture

# OpenCV's tables by name, and the part of each in use: without black, which would hide dark places, and without the
# palest colours. All have even steps of lightness for the eye, with normal colour vision and without, but turbo, which
# people ask for.
COLOUR_MAPS = {
    "inferno": ("COLORMAP_INFERNO", 0.25, 0.85),
    "magma": ("COLORMAP_MAGMA", 0.25, 0.85),
    "plasma": ("COLORMAP_PLASMA", 0.1, 0.95),
    "viridis": ("COLORMAP_VIRIDIS", 0.1, 0.95),
    "cividis": ("COLORMAP_CIVIDIS", 0.1, 0.95),
    "turbo": ("COLORMAP_TURBO", 0.2, 0.95),
}
DEFAULT_COLOUR_MAP = "inferno"


@dataclass(frozen=True)
class HeatLayer:
    """A heat map ready to be laid over pictures of one size: ``out = picture * keep / 255 + add`` on every plane.

    Attributes:
        area: rows and columns of the luma in which heat is visible, even numbers; elsewhere pictures stay as they are.
        keep, add: of the area, for Y, U and V.
    """

    area: tuple[slice, slice]
    keep: tuple[Plane, Plane, Plane]
    add: tuple[Plane, Plane, Plane]


def make_layer(heat: NDArray[np.float32], width: int, height: int, matrix: int, tables: Tables) -> HeatLayer | None:
    """Interpolate the heat to the picture's size and look its colours up, where there are any.

    Cubic interpolation comes first, at a smaller size: linear interpolation of so few cells shows their edges. Both
    steps map the centres of cells to the centres of the areas they cover.
    """
    levels = np.clip(smooth_heat(heat) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    keep_table, *add_tables = tables
    visible = levels >= np.count_nonzero(keep_table == KEPT)  # more heat never keeps more
    if not visible.any():
        return None
    row_steps, rows = _visible_part(visible.any(axis=1), height)
    column_steps, columns = _visible_part(visible.any(axis=0), width)
    levels = levels[row_steps, column_steps]
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    luma_size = (min(columns.stop, width) - columns.start, min(rows.stop, height) - rows.start)
    chroma_size = (shape[1] // 2, shape[0] // 2)
    keep = padded(_enlarged(levels, keep_table, luma_size), shape)
    # Where the picture is kept, chroma must be kept by the same share as luma.
    keep_chroma: Plane = cv2.resize(keep, chroma_size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    add = (
        padded(_enlarged(levels, add_tables[0], luma_size), shape),
        _enlarged(levels, add_tables[1], chroma_size),
        _enlarged(levels, add_tables[2], chroma_size),
    )
    return HeatLayer((rows, columns), (keep, keep_chroma, keep_chroma), add)


def _visible_part(visible: NDArray[np.bool_], side: int) -> tuple[slice, slice]:
    """What has to be drawn along one side of a picture: the steps of the interpolation, and their pixels.

    It ends where steps and pairs of pixels do, so that a part is interpolated as it would be in the whole, and holds
    one step more on both sides, in which what is visible fades.
    """
    steps = len(visible)
    unit = math.lcm(side // math.gcd(side, steps), 2)  # pixels
    if side % unit:
        return slice(0, steps), slice(0, even(side))
    unit_steps = unit * steps // side
    found = np.flatnonzero(visible)
    first = max(int(found[0]) - 1, 0) // unit_steps
    last = -(-min(int(found[-1]) + 2, steps) // unit_steps)
    return slice(first * unit_steps, last * unit_steps), slice(first * unit, last * unit)


def _enlarged(levels: Plane, table: Plane, size: tuple[int, int]) -> Plane:
    return cv2.resize(cv2.LUT(levels, table), size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def smooth_heat(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cubic interpolation: ``GH x GW`` to sixteen times as many cells along a side; no cell is not a number."""
    clean = np.clip(np.nan_to_num(heat.astype(np.float32)), 0.0, 1.0)
    steps = (heat.shape[1] * STEPS_PER_CELL, heat.shape[0] * STEPS_PER_CELL)
    return cv2.resize(clean, steps, interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def colour_tables(matrix: int, opacity: float, colour_map: str) -> Tables:
    """What each of 256 levels of heat does to a picture: how much of it to keep, and what to add to Y, U and V.

    Saturated colours on a dark rim stand out from bright and from dark material.
    """
    level = np.linspace(0.0, 1.0, 256)
    low, high = VISIBLE_HEAT
    rise = np.clip((level - low) / (high - low), 0.0, 1.0)
    alpha = opacity * rise * (2.0 - rise)
    planes = limited_yuv(heat_colours(rise, colour_map), matrix).T
    keep = np.round(255.0 * (1.0 - alpha))
    # The share that is added is what keep leaves, rounded as keep is: a grey picture under grey heat stays grey.
    tables = [keep, *((1.0 - keep / 255.0) * plane for plane in planes)]
    y, u, v, k = (np.round(t).astype(np.uint8) for t in (*tables[1:], tables[0]))
    return k, y, u, v


def heat_colours(share: NDArray[np.float64], colour_map: str) -> NDArray[np.float64]:
    """Colours of shares 0..1 of the visible heat: ``N`` to RGB ``N x 3`` in 0..1."""
    table, low, high = COLOUR_MAPS[colour_map]
    position = np.round((low + (high - low) * share) * 255).astype(np.uint8)
    return cv2.applyColorMap(position, getattr(cv2, table)).reshape(-1, 3)[:, ::-1].astype(np.float64) / 255.0
