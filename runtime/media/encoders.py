"""Encoders of the overlay video: FFmpeg's own, and those of a GPU, which are there when one really opens."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

from avol.runtime.errors import AvolError

TRIED_WIDTH, TRIED_HEIGHT = 320, 240  # NVIDIA's take nothing much smaller


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's.

    Attributes:
        name: FFmpeg's.
        quality: the option that a constant quality goes to.
        options: the others.
        pixel_format: what it takes.
        hardware: what it needs, in words; empty: nothing.
    """

    name: str
    quality: str = "crf"
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    hardware: str = ""


_NVENC = {"preset": "p4", "rc": "vbr"}
# By the name for people; an x265 without log-level talks.
ENCODERS = {
    "h264": Encoder("libx264", options={"preset": "veryfast"}),
    "hevc": Encoder("libx265", options={"preset": "superfast", "x265-params": "log-level=error"}),
    "vp9": Encoder("libvpx-vp9", options={"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}),
    "h264-nvenc": Encoder("h264_nvenc", "cq", _NVENC, hardware="an NVIDIA encoder"),
    "hevc-nvenc": Encoder("hevc_nvenc", "cq", _NVENC, hardware="an NVIDIA encoder"),
    "h264-qsv": Encoder("h264_qsv", "global_quality", {"preset": "veryfast"}, "nv12", "an Intel GPU"),
    "hevc-qsv": Encoder("hevc_qsv", "global_quality", {"preset": "veryfast"}, "nv12", "an Intel GPU"),
}
DEFAULT_CODEC = "h264"


def encoder_problem(codec: str) -> str:
    """Why an encoder cannot be used here, by opening it once; empty if it can.

    Args:
        codec: of :data:`ENCODERS`.
    """
    encoder = ENCODERS[codec]
    try:
        context = av.CodecContext.create(encoder.name, "w")
    except (av.FFmpegError, ValueError):  # PyAV's own for a codec that the build lacks is a ValueError
        return f"this build of FFmpeg has no {encoder.name}"
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = TRIED_WIDTH, TRIED_HEIGHT
    context.pix_fmt, context.time_base = encoder.pixel_format, Fraction(1, 25)
    context.options = dict(encoder.options)
    try:
        context.open()
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"{encoder.name} does not open ({reason}); it needs {encoder.hardware or 'a whole FFmpeg'}"
    return ""


def require_encoder(codec: str) -> None:
    """See to it that an encoder can be used; those that need no hardware are taken to be there.

    Raises:
        AvolError: it cannot.
    """
    if not ENCODERS[codec].hardware:
        return
    if problem := encoder_problem(codec):
        working = [name for name, encoder in ENCODERS.items() if not encoder.hardware or not encoder_problem(name)]
        raise AvolError(f"--codec {codec}: cannot be had here: {problem}. Choose one of {', '.join(working)}.")
