"""Pictures and samples that are in memory already, on the same way to the network as those of files."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import ArrayLike, NDArray

from avol.runtime.media.audio import Converter, Mixer
from avol.runtime.media.picture import resize_frame

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # by channels
FULL_SCALE = {np.dtype(np.int16): 1 << 15, np.dtype(np.int32): 1 << 31}  # what 1.0 is in whole numbers


def shrink(frame: NDArray[np.uint8], *, height: int, width: int) -> NDArray[np.uint8]:
    """A picture at the network's size, by the one resizer.

    Args:
        frame: ``H x W x 3`` RGB, uint8, of any size.
        height, width: of the result.

    Returns:
        ``height x width x 3`` RGB, uint8.

    Raises:
        ValueError: the array is no such picture.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"a frame is {frame.dtype} {frame.shape}, expected uint8 (height, width, 3) RGB")
    return resize_frame(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24"), height=height, width=width)


def samples_at_rate(samples: ArrayLike, from_hz: int, to_hz: int) -> Iterator[NDArray[np.float32]]:
    """Sound at the network's rate: mixed to one channel and resampled a second at a time, as that of a file is.

    Args:
        samples: ``N`` or ``channels x N``; floating in -1..1, or int16 or int32 of full range.
        from_hz: samples a second.
        to_hz: the same for what comes out.

    Returns:
        Consecutive chunks, float32 mono.

    Raises:
        ValueError: the array is no such sound (at once, not at the first chunk).
    """
    array = np.atleast_2d(np.asarray(samples))
    whole = array.dtype in FULL_SCALE
    if array.ndim != 2 or len(array) not in LAYOUTS or not (whole or np.issubdtype(array.dtype, np.floating)):
        raise ValueError(
            f"samples are {array.dtype} {array.shape}, expected floats, int16 or int32, (N,) or (1 to 8 channels, N)"
        )
    if from_hz != int(from_hz) or not 1 <= from_hz <= 1_000_000:
        raise ValueError(f"sample_rate_hz is {from_hz}, expected a whole number, 1 to 1000000")
    return _converted(array, int(from_hz), to_hz)


def _converted(array: NDArray[np.generic], from_hz: int, to_hz: int) -> Iterator[NDArray[np.float32]]:
    mixer, converter = Mixer(), Converter(from_hz, to_hz, Fraction(0))
    scale = np.float32(1 / FULL_SCALE.get(array.dtype, 1))
    for first in range(0, array.shape[1], from_hz):
        block = array[:, first : first + from_hz].astype(np.float32) * scale
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", LAYOUTS[len(block)])
        frame.sample_rate = from_hz
        yield from converter.convert(mixer.mix(frame))
    yield from converter.finish(Fraction(array.shape[1], from_hz))
