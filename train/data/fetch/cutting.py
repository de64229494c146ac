"""Cut some seconds out of a stream on the web: only they are read, and the clip is exact to a frame."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer

from avol.runtime.media.picture import orientation_of, turn_upright
from avol.runtime.media.timing import frame_seconds

OPEN_SECONDS, READ_SECONDS = 30.0, 30.0
RUN_UP_SECONDS = 1.0  # read before the segment: decoders of sound need a moment to settle
LARGEST_HEIGHT = 360  # pixels: training takes far less
LEAST_SECONDS = 1.1  # a network hears 1.024 s at once
SOUND_RATE_HZ = 48_000
SOUND_SAMPLES = 1024  # of an AAC frame
TICKS = 90_000


class NotCutError(Exception):
    """A stream does not hold the seconds asked for; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Where the pictures and the sound of a video are; one address if they are together."""

    pictures: str
    sound: str
    headers: Mapping[str, str]


def cut_segment(streams: Streams, start_seconds: float, end_seconds: float, out: Path) -> None:
    """Write the seconds from ``start_seconds`` to ``end_seconds`` as an MP4 (H.264, AAC) that begins at zero.

    The streams are sought to just before the segment, over HTTP too, so that no more is read than needed; there is no
    copying of packets, which can only start at key frames.

    Raises:
        NotCutError: there are no pictures or no sound in these seconds.
        av.FFmpegError: the stream cannot be read or decoded.
        OSError: the clip cannot be written.
    """
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(_open(streams.pictures, streams.headers))
        heard = (
            seen if streams.sound == streams.pictures else stack.enter_context(_open(streams.sound, streams.headers))
        )
        if not seen.streams.video or not heard.streams.audio:
            raise NotCutError("no pictures" if not seen.streams.video else "no sound")
        output = stack.enter_context(av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}))
        pictures = _cut_pictures(seen, output, start_seconds, end_seconds)
        sound = _cut_sound(heard, output, start_seconds, end_seconds)
        next(pictures)  # both streams are there before the first packet of either
        next(sound)
        seconds = [next(part) for part in (pictures, sound)]
    if min(seconds) < min(LEAST_SECONDS, 0.9 * (end_seconds - start_seconds)):
        which = "pictures" if seconds[0] < seconds[1] else "sound"
        raise NotCutError(f"the {which} end before the segment does: {min(seconds):.1f} s of it are there")


@contextlib.contextmanager
def _open(address: str, headers: Mapping[str, str]) -> Iterator[InputContainer]:
    options = {}
    if address.startswith(("http://", "https://")):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "user-agent")
        options = {"headers": lines, "reconnect": "1", "reconnect_delay_max": "5", "multiple_requests": "1"}
        agents = [value for name, value in headers.items() if name.lower() == "user-agent"]
        options |= {"user_agent": agents[0]} if agents else {}
    with av.open(address, options=options, timeout=(OPEN_SECONDS, READ_SECONDS)) as container:
        yield container


def _seek(container: InputContainer, start_seconds: float) -> float:
    """To a key frame before the segment; gives the stream's own time of the video's zero."""
    zero = (container.start_time or 0) / av.time_base
    container.seek(int((zero + max(0.0, start_seconds - RUN_UP_SECONDS)) * av.time_base), backward=True)
    return zero


def _cut_pictures(
    container: InputContainer, output: OutputContainer, start_seconds: float, end_seconds: float
) -> Iterator[float]:
    """First nothing, when the stream is there; then the seconds written."""
    source = container.streams.video[0]
    source.codec_context.thread_type = "AUTO"
    zero = _seek(container, start_seconds)
    frames = container.decode(source)
    first = next(frames, None)
    if first is None:
        raise NotCutError("the pictures end before the segment begins")
    transposed = orientation_of(first).transposed
    width, height = _size(*((first.height, first.width) if transposed else (first.width, first.height)))
    rate = source.average_rate or Fraction(25)
    stream = output.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
    stream.pix_fmt, stream.width, stream.height = "yuv420p", width, height
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
    yield 0.0
    last_tick = -1
    for frame in itertools.chain([first], frames):
        seconds = (frame_seconds(frame) or 0.0) - zero
        if seconds >= end_seconds:
            break
        tick = round((seconds - start_seconds) * TICKS)
        if tick < 0 or tick <= last_tick:
            continue
        last_tick = tick
        picture = turn_upright(frame).reformat(width=width, height=height, format="yuv420p")
        picture.pts, picture.time_base, picture.pict_type = tick, Fraction(1, TICKS), 0
        output.mux(stream.encode(picture))
    output.mux(stream.encode(None))
    yield 0.0 if last_tick < 0 else last_tick / TICKS + float(1 / rate)


def _cut_sound(
    container: InputContainer, output: OutputContainer, start_seconds: float, end_seconds: float
) -> Iterator[float]:
    """The same for the sound, sample by sample: silence where the stream leaves a gap."""
    stream = output.add_stream("aac", rate=SOUND_RATE_HZ)
    stream.layout = "stereo"
    yield 0.0
    zero = _seek(container, start_seconds)
    resampler = AudioResampler("fltp", "stereo", SOUND_RATE_HZ)
    wanted = round((end_seconds - start_seconds) * SOUND_RATE_HZ)
    reached = 0
    line = np.zeros((2, wanted), np.float32)
    for frame in container.decode(container.streams.audio[0]):
        seconds = (frame_seconds(frame) or 0.0) - zero
        if seconds >= end_seconds:
            break
        for part in resampler.resample(frame):
            part_seconds = frame_seconds(part)  # which follow the frames', the resampler's delay counted in
            first = round(((seconds if part_seconds is None else part_seconds - zero) - start_seconds) * SOUND_RATE_HZ)
            samples = part.to_ndarray()[:, max(0, -first) :]
            first = max(0, first)
            count = min(samples.shape[1], wanted - first)
            if count > 0:
                line[:, first : first + count] = samples[:, :count]
                reached = max(reached, first + count)
    for first in range(0, reached, SOUND_SAMPLES):
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(line[:, first : first + SOUND_SAMPLES]), "fltp", "stereo"
        )
        block.sample_rate, block.pts, block.time_base = SOUND_RATE_HZ, first, Fraction(1, SOUND_RATE_HZ)
        output.mux(stream.encode(block))
    output.mux(stream.encode(None))
    yield reached / SOUND_RATE_HZ


def _size(width: int, height: int) -> tuple[int, int]:
    """No more than needed, even, in the same aspect."""
    share = min(1.0, LARGEST_HEIGHT / max(1, min(width, height)))
    return max(2, round(width * share / 2) * 2), max(2, round(height * share / 2) * 2)
