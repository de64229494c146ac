"""The heat map over the picture, drawn on the YUV planes that the encoder takes: no way through RGB and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from avol.runtime.canvas import LUMA_WEIGHTS, limited_yuv
from avol.runtime.media.picture import plane_pixels
from avol.runtime.opencv import cv2

Plane = NDArray[np.uint8]
Tables = tuple[Plane, Plane, Plane, Plane]  # of levels of heat: what to keep, what to add to Y, U and V

OPACITY = 0.65  # of the hottest place
# Heat below the first value leaves the picture as it is, from the second on the heat has its full opacity.
VISIBLE_HEAT = (0.10, 0.90)
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
class _Layer:
    """A heat map ready to be laid over pictures of one size: ``out = picture * keep / 255 + add`` on every plane."""

    keep: tuple[Plane, Plane, Plane]
    add: tuple[Plane, Plane, Plane]


class Overlay:
    """Draws heat over pictures. Where there is none the picture stays as it is; more heat hides more of it.

    A picture of odd width or height gets one column or row more (a copy of the last), because H.264 in 4:2:0 takes even
    sizes only; the heat is laid over the original area.

    Args:
        opacity: how much of the picture the hottest place hides, 0..1.
        colour_map: one of :data:`COLOUR_MAPS`.
    """

    def __init__(self, *, opacity: float = OPACITY, colour_map: str = DEFAULT_COLOUR_MAP) -> None:
        if not 0.0 <= opacity <= 1.0:
            raise ValueError(f"opacity is {opacity}, allowed is 0..1")
        if colour_map not in COLOUR_MAPS:
            raise ValueError(f"colour_map is {colour_map!r}, allowed are {', '.join(COLOUR_MAPS)}")
        self._opacity, self._colour_map = opacity, colour_map
        self._heat: NDArray[np.float32] | None = None
        self._layer_of: tuple[int, int, int] | None = None
        self._layer: _Layer | None = None

    def draw(self, picture: av.VideoFrame, heat: NDArray[np.float32] | None) -> av.VideoFrame:
        """Lay a heat map over a picture.

        Args:
            picture: upright picture in any pixel format; it is not changed.
            heat: float32 ``GH x GW`` in 0..1 over the whole picture, or None for the picture alone.

        Returns:
            yuv420p of limited range and even size, with the picture's time and colour tags.
        """
        source = to_limited_yuv420p(picture)
        width, height = even(source.width), even(source.height)
        if heat is None and (width, height) == (source.width, source.height):
            return source
        if heat is None:
            return drawable_copy(source)
        result = blank_for(source, width, height)
        layer = self._layer_for(heat, source)
        for plane, target, keep, add in zip(_planes(source), _planes(result), layer.keep, layer.add, strict=True):
            cv2.multiply(_padded(plane, target.shape), keep, dst=target, scale=1 / 255)
            cv2.add(target, add, dst=target)
        return result

    def _layer_for(self, heat: NDArray[np.float32], picture: av.VideoFrame) -> _Layer:
        """The layer of the heat; several pictures between two analyses share it."""
        layer_of = (picture.width, picture.height, matrix_of(picture))
        known = self._heat is not None and layer_of == self._layer_of and np.array_equal(heat, self._heat)
        if self._layer is None or not known:
            self._layer = _make_layer(heat, *layer_of, _tables(layer_of[2], self._opacity, self._colour_map))
            self._layer_of, self._heat = layer_of, heat.copy()
        return self._layer


def even(size: int) -> int:
    """The picture's width or height in the output."""
    return size + size % 2


def to_limited_yuv420p(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture as the encoder takes it; its colour matrix stays, full range becomes limited range."""
    full = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj") or picture.format.is_rgb
    if picture.format.name == "yuv420p" and not full:
        return picture
    matrix = matrix_of(picture)
    result = picture.reformat(
        format="yuv420p",
        src_colorspace=None if picture.format.is_rgb else matrix,
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )
    _copy_properties(picture, result)
    result.color_range = ColorRange.MPEG
    return result


def blank_for(picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A yuv420p picture of even size with the time and colour tags of another; its pixels are not set."""
    blank = av.VideoFrame(width, height, "yuv420p")
    _copy_properties(picture, blank)
    return blank


def drawable_copy(picture: av.VideoFrame) -> av.VideoFrame:
    """A copy to draw on, of even size, of a picture that :func:`to_limited_yuv420p` gave."""
    result = blank_for(picture, even(picture.width), even(picture.height))
    for plane, target in zip(_planes(picture), _planes(result), strict=True):
        target[:] = _padded(plane, target.shape)
    return result


def matrix_of(picture: av.VideoFrame) -> int:
    """The H.273 number of the picture's colour matrix; without a tag its size tells HD from SD, as in players."""
    if picture.colorspace in LUMA_WEIGHTS:
        return picture.colorspace
    return Colorspace.ITU709 if picture.width >= 1280 or picture.height > 576 else Colorspace.ITU601


def _copy_properties(source: av.VideoFrame, target: av.VideoFrame) -> None:
    """Time and colour tags; an RGB picture gets the tag of the matrix that turned it into YUV."""
    target.pts = source.pts
    if source.time_base is not None:
        target.time_base = source.time_base
    target.color_range = source.color_range
    target.colorspace = matrix_of(source) if source.format.is_rgb else source.colorspace
    target.color_primaries, target.color_trc = source.color_primaries, source.color_trc


def _planes(picture: av.VideoFrame) -> list[Plane]:
    """Views of the three planes, ``height x width``, without the bytes that fill up the lines."""
    return [plane_pixels(plane) for plane in picture.planes]


def _padded(plane: Plane, shape: tuple[int, ...]) -> Plane:
    """The plane with its last row and column repeated where the output is larger."""
    if plane.shape == shape:
        return plane
    bottom, right = shape[0] - plane.shape[0], shape[1] - plane.shape[1]
    return np.pad(plane, ((0, bottom), (0, right)), mode="edge")


def _make_layer(heat: NDArray[np.float32], width: int, height: int, matrix: int, tables: Tables) -> _Layer:
    """Interpolate the heat to the picture's size and look its colours up.

    Cubic interpolation comes first, at a smaller size: linear interpolation of so few cells shows their edges. Both
    steps map the centres of cells to the centres of the areas they cover.
    """
    levels = np.clip(smooth_heat(heat) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    luma_size, chroma_size = (width, height), (even(width) // 2, even(height) // 2)
    keep_table, *add_tables = tables
    keep = _padded(_enlarged(levels, keep_table, luma_size), (even(height), even(width)))
    add_luma = _padded(_enlarged(levels, add_tables[0], luma_size), keep.shape)
    chroma = [_enlarged(levels, table, chroma_size) for table in add_tables[1:]]
    # Where the picture is kept, chroma must be kept by the same share as luma.
    keep_chroma = cv2.resize(keep, chroma_size, interpolation=cv2.INTER_AREA)
    return _Layer((keep, keep_chroma, keep_chroma), (add_luma, chroma[0], chroma[1]))  # type: ignore[arg-type]


def _enlarged(levels: Plane, table: Plane, size: tuple[int, int]) -> Plane:
    return cv2.resize(cv2.LUT(levels, table), size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def smooth_heat(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cubic interpolation: ``GH x GW`` to sixteen times as many cells along a side; no cell is not a number."""
    clean = np.clip(np.nan_to_num(heat.astype(np.float32)), 0.0, 1.0)
    steps = (heat.shape[1] * STEPS_PER_CELL, heat.shape[0] * STEPS_PER_CELL)
    return cv2.resize(clean, steps, interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _tables(matrix: int, opacity: float, colour_map: str) -> Tables:
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
