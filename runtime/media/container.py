"""Opening a container, choosing its streams and reading its packets, with every way in which a file can be unusable."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from avol.runtime.errors import AvolError
from avol.runtime.memory import return_freed_memory

LONG_DURATION = 1200 * 1_000_000  # microseconds; reading the index of a long file leaves as much freed as is kept
_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
_TEXT_ART_FORMATS = frozenset({"tty", "bin", "adf", "idf"})  # FFmpeg renders any text file as a video of its letters


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
        if (container.duration or 0) > LONG_DURATION:
            return_freed_memory()
        if container.format.name in _TEXT_ART_FORMATS:
            raise AvolError(f"{path}: text, not a media file. Give a video such as MP4, MKV, WebM or MOV.")
        if not (container.streams.video or container.streams.audio):
            raise AvolError(_unreadable(path, head, None))
        yield container


def is_picture_file(container: InputContainer) -> bool:
    """Whether a file holds one picture (PNG, JPEG, WebP ...) and no film."""
    name = container.format.name
    return name == "image2" or (name.endswith("_pipe") and name != "gif_pipe")  # which may move


def video_stream_of(container: InputContainer, path: Path) -> VideoStream:
    """The video stream that is used; cover pictures of audio files do not count.

    Raises:
        AvolError: there is none, or its codec is unknown.
    """
    covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
    streams = [s for s in container.streams.video if s not in covers]
    if not streams:
        found = [f"{s.type} ({codec_name(s)})" for s in container.streams if s not in covers]
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
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise AvolError(f"{path}: {kind}. Give the path of one media file.")
        with path.open("rb") as file:
            head = file.read(16)
    except (FileNotFoundError, NotADirectoryError):
        raise AvolError(f"{path}: no such file. Check the path.") from None
    except OSError as error:
        raise AvolError(f"{path}: cannot be read: {error.strerror}. Check its name and permissions.") from None
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


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of the stream's codec, for messages."""
    context = getattr(stream, "codec_context", None)
    return "unknown codec" if context is None else str(context.codec.canonical_name)


SEEK_MARGIN_SECONDS = 1.0  # decoders of sound need a little of what comes before


def seek_before(container: InputContainer, time_seconds: float) -> bool:
    """Go to a place from which everything that is shown or heard from a time on (of the file) can be decoded.

    Gives False, and stays where it is, where the file does not say how long it is: such files have no times to find.
    """
    ticks = int((time_seconds - SEEK_MARGIN_SECONDS) * av.time_base)
    if container.duration is None or ticks <= (container.start_time or 0):
        return False  # a failed seek to before the beginning leaves AVI's decoder without its first pictures
    try:
        container.seek(ticks, backward=True)
    except av.FFmpegError:
        return False
    return True


class Packets:
    """Packets of the streams in the order of the file, then one empty packet per stream that flushes its decoder.

    Reading that breaks off ends the iteration like the end of the file; ``broke_off`` then says why.
    """

    def __init__(self, container: InputContainer, *streams: Stream) -> None:
        self.broke_off = ""
        self._streams = streams
        self._demuxed = container.demux(*streams)

    def __iter__(self) -> Iterator[Packet[Stream]]:
        while True:
            try:
                packet = next(self._demuxed, None)
            except av.FFmpegError as error:
                self.broke_off = str(error.strerror)
                break
            except IndexError:  # PyAV at the end of a file in which a stream has appeared since it was opened
                break
            if packet is None or (packet.size == 0 and packet.dts is None):
                break
            yield packet
        for stream in self._streams:
            flush: Packet[Stream] = Packet()
            flush.stream = stream
            if stream.time_base is not None:
                flush.time_base = stream.time_base
            yield flush
