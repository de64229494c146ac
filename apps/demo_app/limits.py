"""What the demo takes: bounds on length and size, checked before anything is run, and named when they are exceeded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.runtime.media.container import open_container
from avol.runtime.media.source import Source, open_source

MEGABYTE = 1 << 20  # as Gradio counts in what it says of uploads that are too large


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds for one request.

    Attributes:
        duration_seconds: longest video.
        sound_seconds: longest sound for a picture.
        megabytes: largest file.
        video_megapixels, picture_megapixels: largest picture of a video, and largest still picture.
    """

    duration_seconds: float = 120.0
    sound_seconds: float = 60.0
    megabytes: float = 200.0
    video_megapixels: float = 9.0
    picture_megapixels: float = 50.0


def check_size(path: Path, limits: Limits) -> None:
    """Refuse a file with too many bytes.

    Raises:
        AvolError: it is larger than the limit, or gone.
    """
    try:
        megabytes = path.stat().st_size / MEGABYTE
    except OSError:
        raise AvolError(f"{path}: is no longer here. Upload it again.") from None
    if megabytes > limits.megabytes:
        raise AvolError(
            f"{path}: {megabytes:.0f} MB; this demo takes files up to {limits.megabytes:g} MB. Give a smaller one."
        )


def check_pixels(path: Path, megapixels: float) -> None:
    """Refuse pictures with too many pixels, before one of them is decoded.

    Raises:
        AvolError: they are larger than the limit, or the file is not media.
    """
    with open_container(path) as container:
        for stream in container.streams.video:
            context = stream.codec_context
            if context is not None and context.width * context.height > megapixels * 1e6:
                raise AvolError(
                    f"{path}: {context.width} x {context.height} pixels; this demo takes up to {megapixels:g} million. "
                    "Give a smaller picture."
                )


def check_video(path: Path, limits: Limits) -> Source:
    """Look at a video and refuse what is too much for the demo.

    Raises:
        AvolError: it exceeds a limit, which the message names, or is unusable.
    """
    check_size(path, limits)
    check_pixels(path, limits.video_megapixels)
    source = open_source(path)
    check_duration(path, source.duration_seconds, limits.duration_seconds)
    return source


def check_duration(path: Path, seconds: float, limit_seconds: float) -> None:
    """Refuse what lasts too long.

    Raises:
        AvolError: it does.
    """
    if seconds > limit_seconds:
        raise AvolError(
            f"{path}: {seconds:.0f} s long; this demo takes up to {limit_seconds:g} s. Give a shorter part of it, or "
            "run avol-run on the file."
        )
