"""One decoded picture: turned upright, and brought to the network's size by the one resizer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from avol.runtime.opencv import cv2

# AREA weighs every source pixel; FULL_CHR_H_INT keeps full chroma resolution in the small picture (without it colours
# are off by 3 levels); the last two make the result the same on every CPU, so that a device sees what training saw.
SCALING = Interpolation.AREA | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

_NAMED_MATRICES = frozenset({1, 4, 5, 6, 7, 9})  # ITU-T H.273 MatrixCoefficients that libswscale knows
_BT2020_CONSTANT_LUMINANCE = 10
_RGB_OR_UNSPECIFIED = frozenset({0, 2})

_scratch = threading.local()


@dataclass(frozen=True)
class Orientation:
    """What turns a stored picture upright: first exchange rows and columns, then mirror left-right and top-bottom."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def apply(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an ``H x W`` or ``H x W x C`` array; gives the array itself when there is nothing to do."""
        if self.transposed:
            array = cv2.transpose(array).astype(np.uint8, copy=False)
        if self.mirrored or self.flipped:
            code = -1 if self.mirrored and self.flipped else int(self.mirrored)
            array = cv2.flip(array, code).astype(np.uint8, copy=False)
        return array


UPRIGHT = Orientation()


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """Orientation from the display matrix that the container (or EXIF) attaches to a frame.

    The matrix maps a stored point ``(x, y)`` to ``(a x + c y, b x + d y)``. Angles between quarter turns snap to the
    nearest one: the frame stays a rectangle.
    """
    try:
        # Not picture.side_data: the picture would keep it, each would hold the other, and pictures would pile up until
        # Python's collector of cycles runs, which is seldom.
        found = SideDataContainer(picture)  # type: ignore[call-arg]  # the stubs leave it out
        side_data = cast("Mapping[str, object]", found).get("DISPLAYMATRIX")
    except ValueError:  # PyAV refuses the whole list for a kind that it does not know, as EXIF is to 18.1
        return _from_rotation(picture.rotation)
    if side_data is None:
        return UPRIGHT
    matrix = np.frombuffer(memoryview(cast("bytes", side_data)), np.int32)
    a, b, c, d = (int(matrix[index]) for index in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrored=a < 0, flipped=d < 0)
    return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)


def _from_rotation(counter_clockwise_degrees: int) -> Orientation:
    quarter_turns = round(counter_clockwise_degrees / 90) % 4
    return (
        UPRIGHT,
        Orientation(transposed=True, flipped=True),
        Orientation(mirrored=True, flipped=True),
        Orientation(transposed=True, mirrored=True),
    )[quarter_turns]


def turn_upright(picture: av.VideoFrame) -> av.VideoFrame:
    """The frame as it is meant to be seen: itself when already upright, else a turned 8-bit ``yuv420p`` copy.

    The copy keeps pts, time base and colour tags, and no longer carries a display matrix.
    """
    orientation = orientation_of(picture)
    if orientation == UPRIGHT:
        return picture
    stored = to_yuv420(picture)
    size = (stored.height, stored.width) if orientation.transposed else (stored.width, stored.height)
    turned = av.VideoFrame(*size, "yuv420p")
    for source, target in zip(stored.planes, turned.planes, strict=True):
        plane_pixels(target)[:] = orientation.apply(plane_pixels(source))
    turned.pts, turned.time_base = picture.pts, picture.time_base
    turned.colorspace, turned.color_range = stored.colorspace, stored.color_range
    turned.color_trc, turned.color_primaries = stored.color_trc, stored.color_primaries
    return turned


def to_yuv420(picture: av.VideoFrame, *, width: int | None = None, height: int | None = None) -> av.VideoFrame:
    """The frame as 8-bit ``yuv420p`` at the given size (its own by default), colours interpreted as in resizing."""
    return _scale(picture, width, height, "yuv420p")


def resize_frame(picture: av.VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
    """The one resizer: the whole frame, upright, squashed to the network's size.

    libswscale AREA straight from the decoded format, with the stream's colour matrix and range. A stream that names no
    matrix is read as BT.709 from 720 lines on and as BT.601 below, as players do. Transparency is ignored.

    Args:
        picture: a decoded frame of any pixel format.
        height: rows of the result.
        width: columns of the result.

    Returns:
        ``height x width x 3`` RGB, uint8, contiguous.
    """
    orientation = orientation_of(picture)
    columns, rows = (height, width) if orientation.transposed else (width, height)
    if picture.interlaced_frame:
        # libswscale scales each field by itself and weaves them again: moving edges would stay combs at any size.
        woven = _scale(picture, columns, 2 * rows, "rgb24").to_ndarray().reshape(rows, 2, columns, 3)
        pixels = (woven.sum(axis=1, dtype=np.uint16) // 2).astype(np.uint8)
    else:
        pixels = _scale(picture, columns, rows, "rgb24").to_ndarray().astype(np.uint8, copy=False)
    return np.ascontiguousarray(orientation.apply(pixels))


def plane_pixels(plane: VideoPlane) -> NDArray[np.uint8]:
    """Writable view of an 8-bit plane as ``H x W`` uint8, without the padding at the ends of its lines."""
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def even(size: int) -> int:
    """The picture's width or height in the output."""
    return size + size % 2


def padded(plane: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The plane with its last row and column repeated where the output is larger."""
    if plane.shape == shape:
        return plane
    bottom, right = shape[0] - plane.shape[0], shape[1] - plane.shape[1]
    return np.pad(plane, ((0, bottom), (0, right)), mode="edge")


def _scale(picture: av.VideoFrame, width: int | None, height: int | None, pixel_format: str) -> av.VideoFrame:
    matrix = _matrix(picture)
    return _reformatter().reformat(
        picture,
        width,
        height,
        pixel_format,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        interpolation=SCALING,
        threads=1,
    )


def _matrix(picture: av.VideoFrame) -> Colorspace | None:
    """The colour matrix to name to libswscale, or None where the frame's own tag does."""
    tag = picture.colorspace
    if tag in _NAMED_MATRICES or (picture.format.is_rgb and tag in _RGB_OR_UNSPECIFIED):
        return None
    if tag == _BT2020_CONSTANT_LUMINANCE:
        return Colorspace.BT2020
    return Colorspace.ITU709 if picture.width >= 1280 or picture.height > 576 else Colorspace.ITU601


def _reformatter() -> VideoReformatter:
    """A scaler per thread: it keeps its tables between frames of one size and is not safe to share."""
    scaler: VideoReformatter | None = getattr(_scratch, "scaler", None)
    if scaler is None:
        scaler = _scratch.scaler = VideoReformatter()
    return scaler
