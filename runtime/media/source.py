"""Opening the input: what is known of it before it is run, and every way in which it can be unusable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from avol.runtime.errors import AvolError
from avol.runtime.media.picture import orientation_of
from avol.runtime.media.timing import container_end_seconds, frame_seconds, stream_end_seconds

_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_TEXT_ART_FORMATS = frozenset({"tty", "bin", "adf", "idf"})  # FFmpeg renders any text file as a video of its letters
_FALLBACK_FRAME_RATE = 25.0


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

    @property
    def sound_path(self) -> Path:
        """The file whose sound is used."""
        return self.path if self.audio_path is None else self.audio_path


@dataclass(frozen=True)
class _Sound:
    """The first decoded sound of a file: when it starts (None: nothing decodes) and its sample rate."""

    start_seconds: float
    sample_rate: int


def open_source(path: str | Path, audio_path: str | Path | None = None) -> Source:
    """Look at the input: its first picture and its first sound are decoded, the rest is left for the readers.

    Args:
        path: a video file.
        audio_path: a file with an audio stream whose sound replaces the video's own.

    Raises:
        AvolError: a file is missing, not a regular file, empty, not media or cut off in its index; ``path`` has no
            video stream or no picture that decodes; ``audio_path`` has no sound that decodes.
    """
    path, other = Path(path), None if audio_path is None else Path(audio_path)
    with open_container(path) as container:
        stream = video_stream_of(container, path)
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


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a media file with every user's mistake as one line.

    Raises:
        AvolError: the file is missing, not a regular file, unreadable, empty, not media or cut off in its index.
    """
    head = _head_of(path)
    try:
        # An absolute path, so that a colon in the name is not taken for a protocol.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AvolError(_unreadable(path, head, error)) from None
    with container:
        if container.format.name in _TEXT_ART_FORMATS:
            raise AvolError(f"{path}: text, not a media file. Give a video such as MP4, MKV, WebM or MOV.")
        if not (container.streams.video or container.streams.audio):
            raise AvolError(_unreadable(path, head, None))
        yield container


def video_stream_of(container: InputContainer, path: Path) -> VideoStream:
    """The video stream that is used; cover pictures of audio files do not count.

    Raises:
        AvolError: there is none, or its codec is unknown.
    """
    covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
    streams = [s for s in container.streams.video if s not in covers]
    if not streams:
        found = [f"{s.type} ({_codec_name(s)})" for s in container.streams if s not in covers]
        found += ["a cover picture"] * bool(covers)
        raise AvolError(f"{path}: no video stream, only {' and '.join(found)}. Give a file with moving pictures.")
    usable = [s for s in streams if s.codec_context is not None]
    if not usable:
        raise AvolError(f"{path}: no decoder for its video codec. Convert it to H.264 first.")
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in usable else usable[0]


def audio_stream_of(container: InputContainer) -> AudioStream | None:
    """The audio stream that is analysed and copied: the file's default choice, or None."""
    usable = [s for s in container.streams.audio if s.codec_context is not None]
    best = container.streams.best("audio")
    if isinstance(best, AudioStream) and best in usable:
        return best
    return usable[0] if usable else None


def _head_of(path: Path) -> bytes:
    """First bytes of a regular, non-empty file."""
    if not path.exists():
        raise AvolError(f"{path}: no such file. Check the path.")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "not a regular file"
        raise AvolError(f"{path}: {kind}. Give the path of one media file.")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise AvolError(f"{path}: cannot be read: {error.strerror}. Check its permissions.") from None
    if not head:
        raise AvolError(f"{path}: the file is empty. Copy or download it again.")
    return head


def _unreadable(path: Path, head: bytes, error: Exception | None) -> str:
    """Why a file that is there does not open."""
    if head[4:8] in _MP4_BOXES:
        return (
            f"{path}: its index (the moov box) is missing or damaged, as when a recording or download was cut off. "
            "Copy, download or record it again."
        )
    reason = getattr(error, "strerror", None) or "it holds neither pictures nor sound"
    return f"{path}: not a media file that FFmpeg can read ({reason}). Give a video such as MP4, MKV, WebM or MOV."


def _first_picture(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    """Decode up to the first picture, past damaged packets."""
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    return frame
    codec = _codec_name(stream)
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
            with contextlib.suppress(av.FFmpegError):
                for packet in container.demux(stream):
                    with contextlib.suppress(av.FFmpegError):
                        for frame in packet.decode():
                            return _Sound(frame_seconds(frame) or 0.0, frame.sample_rate), ()
        codec = _codec_name(container.streams.audio[0])
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
    with open_container(path) as container, contextlib.suppress(av.FFmpegError):
        for packet in container.demux(video_stream_of(container, path)):
            count += packet.size > 0
            if packet.pts is not None:
                end_seconds = max(end_seconds, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end_seconds or count / frame_rate


def _codec_name(stream: av.stream.Stream) -> str:
    context = getattr(stream, "codec_context", None)
    return "unknown codec" if context is None else str(context.codec.canonical_name)
