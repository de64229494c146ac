"""Opening the input: what is known of it before it is run, and every way in which it can be unusable."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from avol.runtime.errors import AvolError
from avol.runtime.media.container import (
    Packets,
    audio_stream_of,
    codec_name,
    is_picture_file,
    open_container,
    video_stream_of,
)
from avol.runtime.media.picture import orientation_of
from avol.runtime.media.timing import container_end_seconds, frame_seconds, packet_end_seconds, stream_end_seconds

_FALLBACK_FRAME_RATE = 25.0


__all__ = [
    "Source",
    "audio_stream_of",
    "first_sound_seconds",
    "open_container",
    "open_source",
    "part_of",
    "video_stream_of",
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of the input before it is run.

    Time zero of the output video and the timeline is the moment when the first thing can be seen or heard: the
    earlier of the first decoded picture and the first decoded sample, after the decoder has dropped its priming
    (the silent samples that AAC, MP3 and Opus encoders put in front). So nothing is cut, no time is negative, and
    only packets that hold nothing but priming lie before zero. Transport streams start at 1.4 s by convention; that
    offset disappears.

    Attributes:
        path: the file whose pictures are used.
        audio_path: another file whose sound is used, or None for the file's own sound.
        zero_seconds: time (pts * time_base) in ``path`` that is zero in the output.
        audio_zero_seconds: the same in the file whose sound is used; equal to ``zero_seconds`` for the file's own
            sound, the other file's own first picture or sample otherwise.
        duration_seconds: from zero to the end of the last stream of ``path``, as the file declares it.
        width, height: the displayed frame in pixels, after rotation and sample aspect ratio.
        picture_width, picture_height: pixels of the upright decoded picture; differ from the above when anamorphic.
        sample_aspect_ratio: width of a pixel of the upright picture over its height.
        frame_rate: average, frames per second; only a description where the rate varies.
        audio_sample_rate: samples per second of the sound that is used, as decoded; None where there is none.
        warnings: one line each, for the user.
        start_seconds: how far zero lies behind where it would be without :func:`part_of`.
        part_seconds: how much is run at most; None: up to the end.
    """

    path: Path
    audio_path: Path | None = None
    zero_seconds: float
    audio_zero_seconds: float
    duration_seconds: float
    width: int
    height: int
    picture_width: int
    picture_height: int
    sample_aspect_ratio: Fraction
    frame_rate: float
    audio_sample_rate: int | None
    warnings: tuple[str, ...] = ()
    start_seconds: float = 0.0
    part_seconds: float | None = None

    @property
    def sound_path(self) -> Path:
        """The file whose sound is used."""
        return self.path if self.audio_path is None else self.audio_path


@dataclass(frozen=True)
class _Sound:
    """The first decoded sound of a file: when it starts, and its sample rate."""

    start_seconds: float
    sample_rate: int


def open_source(path: str | Path, audio_path: str | Path | None = None) -> Source:
    """Look at the input: its first picture and its first sound are decoded, the rest is left for the readers.

    Args:
        path: a video file.
        audio_path: a file with an audio stream whose sound replaces the video's own.

    Raises:
        AvolError: a file is missing, not a regular file, empty, not media or cut off in its index; ``path`` has no
            video stream or no picture that decodes, or is a still picture and there is no ``audio_path``;
            ``audio_path`` has no sound that decodes.
    """
    path, other = Path(path), None if audio_path is None else Path(audio_path)
    with open_container(path) as container:
        stream = video_stream_of(container, path)
        if other is None and is_picture_file(container):
            raise AvolError(f"{path}: a still picture without sound. Give a video, or a sound for it with --audio.")
        picture = _first_picture(container, stream, path)
        picture_seconds = frame_seconds(picture) or 0.0
        aspect = stream.sample_aspect_ratio or Fraction(1)
        frame_rate = _frame_rate(stream)
        end_seconds = _end_seconds(container)
    if end_seconds is None:
        end_seconds = _last_packet_end(path, frame_rate)
    own, warnings = _first_sound(path)
    zero_seconds = picture_seconds if own is None else min(picture_seconds, own.start_seconds)
    used, audio_zero_seconds = own, zero_seconds
    if other is not None:
        used, audio_zero_seconds = _other_sound(other)
        warnings = ()
    width, height, displayed_width = picture.width, picture.height, max(1, round(picture.width * aspect))
    displayed = (displayed_width, height)
    if orientation_of(picture).transposed:
        width, height, displayed, aspect = height, width, (height, displayed_width), 1 / aspect
    return Source(
        path=path,
        audio_path=other,
        zero_seconds=zero_seconds,
        audio_zero_seconds=audio_zero_seconds,
        duration_seconds=max(0.0, end_seconds - zero_seconds),
        width=displayed[0],
        height=displayed[1],
        picture_width=width,
        picture_height=height,
        sample_aspect_ratio=aspect,
        frame_rate=frame_rate,
        audio_sample_rate=None if used is None else used.sample_rate,
        warnings=warnings,
    )


def part_of(source: Source, start_seconds: float = 0.0, end_seconds: float | None = None) -> Source:
    """The part of a source between two times of it; time zero of the output is then the part's beginning.

    Another file's sound is cut in the same way.

    Raises:
        AvolError: the source ends before the part begins.
    """
    if start_seconds >= source.duration_seconds > 0:
        raise AvolError(
            f"{source.path}: is {source.duration_seconds:.2f} s long and ends before --start {start_seconds:g}; "
            "choose an earlier start."
        )
    part_seconds = None if end_seconds is None else end_seconds - start_seconds
    rest_seconds = max(0.0, source.duration_seconds - start_seconds)
    return replace(
        source,
        zero_seconds=source.zero_seconds + start_seconds,
        audio_zero_seconds=source.audio_zero_seconds + start_seconds,
        duration_seconds=rest_seconds if part_seconds is None else min(rest_seconds, part_seconds),
        start_seconds=start_seconds,
        part_seconds=part_seconds,
    )


def _first_picture(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    """Decode up to the first picture, past damaged packets."""
    for packet in Packets(container, stream):
        with contextlib.suppress(av.FFmpegError):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    return frame
    codec = codec_name(stream)
    raise AvolError(
        f"{path}: no picture could be decoded from its video stream ({codec}); the file is cut off or damaged. "
        "Copy, download or record it again."
    )


def _first_sound(path: Path) -> tuple[_Sound | None, tuple[str, ...]]:
    """Start and rate of a file's sound, decoded because only the decoder knows how much priming it drops."""
    with open_container(path) as container:
        if not container.streams.audio:
            return None, ()
        stream = audio_stream_of(container)
        if stream is not None:
            for packet in Packets(container, stream):
                with contextlib.suppress(av.FFmpegError):
                    for frame in packet.decode():
                        if isinstance(frame, av.AudioFrame):
                            return _Sound(frame_seconds(frame) or 0.0, frame.sample_rate), ()
        codec = codec_name(container.streams.audio[0])
        return None, (f"{path}: no sound could be decoded from its audio stream ({codec}); it is treated as silent.",)


def _other_sound(path: Path) -> tuple[_Sound, float]:
    """Sound of the file given beside the video, and that file's own zero."""
    sound, warnings = _first_sound(path)
    if sound is None:
        fact = "no sound could be decoded from its audio stream" if warnings else "no audio stream"
        raise AvolError(f"{path}: {fact}. Give a file that has sound, or leave the other audio out.")
    with open_container(path) as container, contextlib.suppress(AvolError):
        picture = _first_picture(container, video_stream_of(container, path), path)
        return sound, min(sound.start_seconds, frame_seconds(picture) or 0.0)
    return sound, sound.start_seconds


def first_sound_seconds(path: Path) -> float:
    """Time (pts * time_base) in a file of the first sample that decodes.

    Raises:
        AvolError: there is none.
    """
    sound, warnings = _first_sound(path)
    if sound is None:
        fact = "no sound could be decoded from its audio stream" if warnings else "no audio stream"
        raise AvolError(f"{path}: {fact}. Give a file that has sound.")
    return sound.start_seconds


def _frame_rate(stream: VideoStream) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and 0 < rate <= 1000:
            return float(rate)
    return _FALLBACK_FRAME_RATE


def _end_seconds(container: InputContainer) -> float | None:
    """When the last of the used streams ends, in the file's own time; None where the file does not say."""
    streams = [s for s in (*container.streams.video, audio_stream_of(container)) if s is not None]
    ends = [stream_end_seconds(s) for s in streams if not s.disposition & Disposition.attached_pic]
    known = [end for end in ends if end is not None]
    return max(known) if known else container_end_seconds(container)


def _last_packet_end(path: Path, frame_rate: float) -> float:
    """End of a file that declares none (raw streams, unfinished recordings): its packets are read to the end."""
    end_seconds = count = 0.0
    with open_container(path) as container:
        for packet in Packets(container, video_stream_of(container, path)):
            count += packet.size > 0
            end_seconds = max(end_seconds, packet_end_seconds(packet))
    return end_seconds or count / frame_rate
