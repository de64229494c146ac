"""The heat map over the picture, drawn on the YUV planes that the encoder takes: no way through RGB and back."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from avol.runtime.canvas import LUMA_WEIGHTS
from avol.runtime.heat_layer import COLOUR_MAPS, DEFAULT_COLOUR_MAP, HeatLayer, colour_tables, make_layer
from avol.runtime.media.picture import even, padded, plane_pixels
from avol.runtime.opencv import cv2

Plane = NDArray[np.uint8]

OPACITY = 0.65  # of the hottest place


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
        self._layer: HeatLayer | None = None

    def draw(self, picture: av.VideoFrame, heat: NDArray[np.float32] | None) -> av.VideoFrame:
        """Lay a heat map over a picture.

        Args:
            picture: upright picture in any pixel format; it is not changed.
            heat: float32 ``GH x GW`` in 0..1 over the whole picture, or None for the picture alone.

        Returns:
            yuv420p of limited range and even size, with the picture's time and colour tags.
        """
        source = to_limited_yuv420p(picture)
        layer = None if heat is None else self._layer_for(heat, source)
        if layer is None and source.width == even(source.width) and source.height == even(source.height):
            return source
        result = drawable_copy(source)
        if layer is None:
            return result
        for plane, share, keep, add in zip(_planes(result), (1, 2, 2), layer.keep, layer.add, strict=True):
            rows, columns = (slice(part.start // share, part.stop // share) for part in layer.area)
            target = plane[rows, columns]
            cv2.multiply(target, keep, dst=target, scale=1 / 255)
            cv2.add(target, add, dst=target)
        return result

    def _layer_for(self, heat: NDArray[np.float32], picture: av.VideoFrame) -> HeatLayer | None:
        """The layer of the heat, None if none is visible; several pictures between two analyses share it."""
        layer_of = (picture.width, picture.height, matrix_of(picture))
        known = self._heat is not None and layer_of == self._layer_of and np.array_equal(heat, self._heat)
        if not known:
            self._layer = make_layer(heat, *layer_of, colour_tables(layer_of[2], self._opacity, self._colour_map))
            self._layer_of, self._heat = layer_of, heat.copy()
        return self._layer


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
        target[:] = padded(plane, target.shape)
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
