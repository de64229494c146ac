"""A live stream or a camera, read in a thread of its own that comes back when the other side goes away."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import urlsplit

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from avol.runtime.errors import AvolError
from avol.runtime.live_buffer import LiveBuffer, LivePicture
from avol.runtime.media.audio import Converter, Mixer, SampleLine
from avol.runtime.media.picture import resize_frame, turn_upright
from avol.runtime.media.timing import AnalysisClock, frame_seconds

OPEN_TIMEOUT_SECONDS = 8.0
READ_TIMEOUT_SECONDS = 2.0  # without a packet the connection counts as lost
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.25, 4.0
# Nothing is held back to look at: what comes is decoded at once.
OPTIONS = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "300000", "probesize": "500000"}
RTSP_OPTIONS = {"rtsp_transport": "tcp"}  # without it, packets that arrive out of order cost pictures
JUMP_SECONDS = 5.0  # of a stream's own clock, which a restarted sender sets anew


@dataclass(frozen=True, kw_only=True)
class LiveSource:
    """What to read.

    Attributes:
        url: a stream (rtsp, rtp, udp, tcp, http, https, srt), or a camera such as ``/dev/video0``.
        microphone: an ALSA device such as ``default`` or ``hw:1``, for a camera; empty: the stream's own sound.
    """

    url: str
    microphone: str = ""


class LiveReader:
    """Fills a :class:`LiveBuffer` until it is closed; a lost connection is opened again and again.

    Args:
        source: what to read.
        buffer: where pictures and sound go.
        frame_height, frame_width: pixels of analysed frames.
        sample_rate_hz: of the sound.
        rate_hz: pictures to analyse a second, at most.
        notice: called with a line whenever the connection comes or goes; from the reading thread.
    """

    def __init__(
        self,
        source: LiveSource,
        buffer: LiveBuffer,
        *,
        frame_height: int,
        frame_width: int,
        sample_rate_hz: int,
        rate_hz: float,
        notice: Callable[[str], None],
    ) -> None:
        self.source, self._buffer, self._notice = source, buffer, notice
        self._height, self._width, self._sample_rate_hz = frame_height, frame_width, sample_rate_hz
        self._analysis = AnalysisClock(rate_hz)
        self._last_picture_seconds = -1.0
        self._started_seconds = time.monotonic()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.error: BaseException | None = None  # of a thread that failed: a bug

    def __enter__(self) -> LiveReader:
        """Open the source once, so that a mistake shows at once; then read on in the background.

        Raises:
            AvolError: there is nothing to read at that address.
        """
        addresses = [address for address in (self.source.url, self.source.microphone) if address]
        with contextlib.ExitStack() as opened:
            containers = [opened.enter_context(_open(address, index == 0)) for index, address in enumerate(addresses)]
            opened.pop_all()  # the threads close them
        self._started_seconds = time.monotonic()
        for address, container in zip(addresses, containers, strict=True):
            thread = threading.Thread(target=self._run, args=(address, container), name=f"avol-live {shown(address)}")
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._buffer.close()

    def _run(self, address: str, container: InputContainer | None) -> None:
        """Read, and open again, until closed."""
        pictures, retry_seconds = address == self.source.url, FIRST_RETRY_SECONDS
        try:
            while not self._closing.is_set():
                if container is None:
                    with contextlib.suppress(AvolError):
                        container = _open(address, pictures)
                        self._notice(f"{shown(address)}: connected again.")
                if container is not None:
                    with container:
                        reason = self._read(container, pictures=pictures)
                    container, retry_seconds = None, FIRST_RETRY_SECONDS
                    if not self._closing.is_set():
                        self._notice(f"{shown(address)}: connection lost ({reason}); trying again.")
                self._closing.wait(retry_seconds)
                retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
        except BaseException as error:  # the thread must not die unseen: who takes moments raises it
            self.error = error
            self._buffer.close()

    def _read(self, container: InputContainer, *, pictures: bool) -> str:
        """Everything of one connection; gives why it ended."""
        streams: list[VideoStream | AudioStream] = []
        if pictures:
            streams.append(container.streams.video[0])
            streams[0].codec_context.thread_type = "SLICE"  # frame threads hold pictures back
        if (sound := _sound_stream(container)) is not None and (not pictures or not self.source.microphone):
            streams.append(sound)
        if not self.source.microphone or not pictures:
            self._buffer.expect_sound(hears=sound is not None)
        clock, line = _StreamClock(self._started_seconds), _SoundLine(self._buffer, self._sample_rate_hz)
        try:
            for packet in container.demux(streams):
                if self._closing.is_set():
                    return "closed"
                for frame in _decoded(packet):
                    self._add(frame, clock, line)
        except av.FFmpegError as error:
            return "nothing came" if isinstance(error, av.error.ExitError) else str(error.strerror)
        return "it ended"

    def _add(self, frame: av.VideoFrame | av.AudioFrame, clock: _StreamClock, line: _SoundLine) -> None:
        arrived_seconds = time.monotonic()
        time_seconds = clock.time_of(frame_seconds(frame), arrived_seconds)
        if isinstance(frame, av.AudioFrame):
            line.add(frame, time_seconds)
        elif time_seconds > self._last_picture_seconds:
            self._last_picture_seconds = time_seconds
            if self._analysis.due(time_seconds):
                pixels = resize_frame(frame, height=self._height, width=self._width)
                self._buffer.add_picture(LivePicture(time_seconds, arrived_seconds, pixels, turn_upright(frame)))


class _StreamClock:
    """A stream's times on the clock of the run: anchored when its first frame comes, and whenever it jumps."""

    def __init__(self, started_seconds: float) -> None:
        self._started_seconds = started_seconds
        self._offset_seconds: float | None = None

    def time_of(self, stream_seconds: float | None, arrived_seconds: float) -> float:
        elapsed_seconds = max(0.0, arrived_seconds - self._started_seconds)
        if stream_seconds is None:
            return elapsed_seconds
        if self._offset_seconds is None or abs(stream_seconds + self._offset_seconds - elapsed_seconds) > JUMP_SECONDS:
            self._offset_seconds = elapsed_seconds - stream_seconds
        return max(0.0, stream_seconds + self._offset_seconds)


class _SoundLine:
    """Decoded sound to samples at the network's rate, each at its place."""

    def __init__(self, buffer: LiveBuffer, rate_hz: int) -> None:
        self._buffer, self._rate_hz, self._mixer = buffer, rate_hz, Mixer()
        self._line: SampleLine | None = None

    def add(self, frame: av.AudioFrame, time_seconds: float) -> None:
        line = self._line
        if line is None or line.rate_hz != frame.sample_rate or abs(float(line.time) - time_seconds) > 1.0:
            start = Fraction(round(time_seconds * self._rate_hz), self._rate_hz)
            line = self._line = SampleLine(frame.sample_rate, start)
            self._converter = Converter(frame.sample_rate, self._rate_hz, start)
            self._position = round(start * self._rate_hz)
        for part in line.place(self._mixer.mix(frame), time_seconds):
            for samples in self._converter.convert(part):
                self._buffer.add_samples(self._position, samples)
                self._position += samples.size


def shown(address: str) -> str:
    """An address for messages: without the password."""
    parts = urlsplit(address)
    return address if parts.password is None else address.replace(f":{parts.password}@", ":***@", 1)


def _open(address: str, pictures: bool) -> InputContainer:
    """A container that gives packets as they come."""
    name, options = (None, dict(OPTIONS))
    if pictures and address.startswith("/dev/"):
        name, options = "v4l2", {}
    elif not pictures:
        name, options = "alsa", {}
    elif address.startswith("rtsp"):
        options |= RTSP_OPTIONS
    try:
        container = av.open(address, format=name, options=options, timeout=(OPEN_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
    except (av.FFmpegError, OSError, ValueError) as error:
        late = isinstance(error, av.error.ExitError)
        reason = (
            f"nothing came within {OPEN_TIMEOUT_SECONDS:g} s" if late else getattr(error, "strerror", None) or error
        )
        raise AvolError(
            f"{shown(address)}: cannot be opened ({reason}); check the address, and that the sender or device is on."
        ) from None
    if pictures and not container.streams.video:
        container.close()
        raise AvolError(f"{shown(address)}: a stream without pictures; give one that has video.")
    return container


def _sound_stream(container: InputContainer) -> AudioStream | None:
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def _decoded(packet: Packet[Stream]) -> list[av.VideoFrame | av.AudioFrame]:
    """Frames of a packet; what was damaged on the way gives none."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame | av.AudioFrame)]
    except av.FFmpegError:
        return []
