"""Makes small media files for tests with PyAV: pictures and sounds whose content says when and where it belongs.

Typical use::

    track = AudioTrack(bursts([0.5, 1.5], seconds=2.0, sample_rate=16000), sample_rate=16000, codec="aac")
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=2.0, rate=25, rotation=90), track)

Every picture carries its index as a bar code (``read_number``) and a red square (``find_square``) on dark grey.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Samples = NDArray[np.float32]

NUMBER_BITS = 8
BACKGROUND = (40, 40, 40)
SQUARE = (220, 30, 30)
_AVCOL = {"bt709": 1, "bt601": 6, "bt2020": 9}
_SWS = {"bt709": Colorspace.ITU709, "bt601": Colorspace.ITU601, "bt2020": Colorspace.BT2020}


def numbered_picture(index: int, width: int, height: int) -> Rgb:
    """``H x W x 3``: the index as a bar code along the top fifth, a red square centred at (0.25, 0.6)."""
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    edges = np.linspace(0, width, NUMBER_BITS + 1).round().astype(int)
    for bit in range(NUMBER_BITS):
        if index >> bit & 1:
            picture[: height // 5, edges[bit] : edges[bit + 1]] = 235
    picture[int(height * 0.5) : int(height * 0.7), int(width * 0.15) : int(width * 0.35)] = SQUARE
    return picture


def read_number(pixels: Rgb) -> int:
    """The index in an upright ``H x W x 3`` picture made by :func:`numbered_picture`, at any size."""
    height, width = pixels.shape[:2]
    columns = ((np.arange(NUMBER_BITS) + 0.5) * width / NUMBER_BITS).astype(int)
    return sum(1 << bit for bit, column in enumerate(columns) if pixels[height // 10, column].mean() > 128)


def find_square(pixels: Rgb) -> tuple[float, float]:
    """Centre (x, y) of the red square in fractions of the picture."""
    red = (pixels[..., 0].astype(int) - pixels[..., 1]) > 80
    rows, columns = np.nonzero(red)
    assert rows.size, "no red square"
    return (columns.mean() + 0.5) / pixels.shape[1], (rows.mean() + 0.5) / pixels.shape[0]


@dataclass(frozen=True, kw_only=True)
class VideoTrack:
    """What to encode as pictures.

    Attributes:
        seconds, rate: length and constant frame rate; ``times`` (seconds, ascending) replaces both for a variable rate.
        start_seconds: added to every time.
        width, height: stored pixels, before rotation.
        picture: gives the upright content for (index, width, height); the stored picture is turned so that the display
            matrix of ``rotation`` (counter-clockwise degrees: 0, 90, 180, 270) makes it upright again. With
            ``mirrored`` the matrix also mirrors left-right after the rotation.
        sample_aspect_ratio: of stored pixels.
        matrix, full_range: colour coding; matrix None leaves the tag out and codes BT.601.
        options: of the encoder.
    """

    seconds: float = 1.0
    rate: int = 25
    times: Sequence[float] | None = None
    start_seconds: float = 0.0
    width: int = 96
    height: int = 64
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    picture: Callable[[int, int, int], Rgb] = numbered_picture
    rotation: int = 0
    mirrored: bool = False
    sample_aspect_ratio: Fraction | None = None
    matrix: str | None = None
    full_range: bool = False
    options: dict[str, str] = field(default_factory=dict)

    @property
    def frame_times(self) -> list[float]:
        """Presentation time of every frame in seconds, start included."""
        times = self.times
        if times is None:
            times = [k / self.rate for k in range(round(self.seconds * self.rate))]
        return [self.start_seconds + time for time in times]


@dataclass(frozen=True, kw_only=True)
class AudioTrack:
    """What to encode as sound.

    Attributes:
        samples: ``channels x N`` float32 in -1..1.
        layout: FFmpeg's name, e.g. ``mono``, ``stereo``, ``5.1``.
        start_seconds: time of the first sample.
        lost: packets that lie wholly in one of these (start, end) spans of seconds are left out of the file.
    """

    samples: Samples
    sample_rate: int = 48000
    layout: str = "mono"
    codec: str = "aac"
    start_seconds: float = 0.0
    lost: Sequence[tuple[float, float]] = ()
    options: dict[str, str] = field(default_factory=dict)


def bursts(
    at_seconds: Sequence[float], *, seconds: float, sample_rate: int, channels: int = 1, length_seconds: float = 0.1
) -> Samples:
    """``channels x N``: silence with bursts of noise (300 Hz .. 3 kHz, peak 0.5) that start at the given times."""
    track = np.zeros(round(seconds * sample_rate), np.float32)
    length = round(length_seconds * sample_rate)
    noise = np.random.default_rng(7).standard_normal(1 << 15)
    for at in at_seconds:
        # One noise in continuous time, sampled at the track's rate: bursts at all rates are the same sound.
        spectrum = np.fft.rfft(noise[: 1 << 12])
        hertz = np.fft.rfftfreq(1 << 12, 1 / 8000)
        spectrum[(hertz < 300) | (hertz > 3000)] = 0
        chosen = np.nonzero(spectrum)[0][::8]
        time = np.arange(length) / sample_rate
        wave = sum(np.abs(spectrum[k]) * np.cos(2 * np.pi * hertz[k] * time + np.angle(spectrum[k])) for k in chosen)
        first = round(at * sample_rate)
        part = track[first : first + length]
        part[:] = (0.5 * wave / np.abs(wave).max())[: part.size]
    return np.tile(track, (channels, 1))


def write_media(
    path: Path,
    video: VideoTrack | None = None,
    audio: AudioTrack | None = None,
    *,
    container_options: dict[str, str] | None = None,
    cover: bool = False,
) -> Path:
    """Write a file; its suffix chooses the container. Returns ``path``.

    Args:
        path: where to.
        video: pictures, or None.
        audio: sound, or None.
        container_options: of the muxer, e.g. ``{"movflags": "faststart"}`` to put an MP4's index first.
        cover: add a cover picture as music files have (MP3, FLAC, M4A).
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        video_stream = None if video is None else _add_video(container, video)
        audio_stream = None if audio is None else _add_audio(container, audio)
        cover_stream: Any = container.add_stream("mjpeg", rate=1) if cover else None
        packets: list[Any] = []
        if cover_stream is not None:
            cover_stream.width, cover_stream.height, cover_stream.pix_fmt = 64, 64, "yuvj420p"
            cover_stream.disposition = Disposition.attached_pic
            packets += cover_stream.encode(av.VideoFrame.from_ndarray(numbered_picture(1, 64, 64)))
        if video is not None:
            packets += _encode_video(video_stream, video)
        if audio is not None:
            packets += _encode_audio(audio_stream, audio)
        packets.sort(key=lambda packet: (packet.dts or 0) * packet.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def write_picture(path: Path, pixels: Rgb, *, exif_orientation: int | None = None) -> Path:
    """Write one picture (PNG, JPEG ... by suffix), a JPEG optionally with an EXIF orientation tag (1..8)."""
    codec, pixel_format = ("mjpeg", "yuvj444p") if path.suffix in {".jpg", ".jpeg"} else ("png", "rgb24")
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.time_base = pixel_format, Fraction(1, 25)
    encoder.options = {"qmin": "1", "qmax": "1"} if codec == "mjpeg" else {}
    frame = av.VideoFrame.from_ndarray(pixels).reformat(format=pixel_format, dst_colorspace=Colorspace.ITU601)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    data = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    if exif_orientation is not None:
        tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, exif_orientation, 0, 0)
        body = b"Exif\0\0" + tiff
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    path.write_bytes(data)
    return path


def cut(path: Path, out: Path, *, keep: float) -> Path:
    """Copy only the first ``keep`` (a fraction) of a file's bytes: a download that broke off."""
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * keep)])
    return out


def damage(path: Path, out: Path, *, start: float, end: float) -> Path:
    """Copy a file with noise over the bytes between two fractions of its length."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = np.random.default_rng(3).integers(0, 256, last - first, np.uint8).tobytes()
    out.write_bytes(bytes(data))
    return out


def _add_video(container: Any, track: VideoTrack) -> Any:
    options = {"preset": "ultrafast", "crf": "8"} if track.codec in {"libx264", "libx265"} else {}
    if track.codec == "libx265":
        options["x265-params"] = "log-level=none"
    stream = container.add_stream(track.codec, rate=track.rate, options=options | track.options)
    stream.width, stream.height, stream.pix_fmt = track.width, track.height, track.pixel_format
    # AVI has no timestamps: its time base is the frame duration.
    ticks = track.rate if container.format.name == "avi" else 90000
    stream.time_base = stream.codec_context.time_base = Fraction(1, ticks)
    if track.sample_aspect_ratio is not None:
        stream.codec_context.sample_aspect_ratio = track.sample_aspect_ratio
    if track.matrix is not None:
        stream.codec_context.colorspace = _AVCOL[track.matrix]
    stream.codec_context.color_range = ColorRange.JPEG if track.full_range else ColorRange.MPEG
    if track.rotation or track.mirrored:
        stream.set_display_rotation(track.rotation, hflip=track.mirrored)
    return stream


def _encode_video(stream: Any, track: VideoTrack) -> list[Any]:
    packets: list[Any] = []
    for index, time in enumerate(track.frame_times):
        turned = track.rotation % 180 != 0
        size = (track.height, track.width) if turned else (track.width, track.height)
        upright = track.picture(index, *size)
        if track.mirrored:
            upright = upright[:, ::-1]
        stored = np.ascontiguousarray(np.rot90(upright, -track.rotation // 90))
        frame = av.VideoFrame.from_ndarray(stored).reformat(
            format=track.pixel_format,
            dst_colorspace=_SWS[track.matrix or "bt601"],
            dst_color_range=ColorRange.JPEG if track.full_range else ColorRange.MPEG,
        )
        frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def _add_audio(container: Any, track: AudioTrack) -> Any:
    return container.add_stream(track.codec, rate=track.sample_rate, layout=track.layout, options=track.options)


def _encode_audio(stream: Any, track: AudioTrack) -> list[Any]:
    packets: list[Any] = []
    offset = round(track.start_seconds * track.sample_rate)
    for first in range(0, track.samples.shape[1], 1024):
        block = np.ascontiguousarray(track.samples[:, first : first + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(block, "fltp", track.layout)
        frame.sample_rate, frame.pts, frame.time_base = (
            track.sample_rate,
            offset + first,
            Fraction(1, track.sample_rate),
        )
        packets += stream.encode(frame)
    packets += list(stream.encode(None))
    return [packet for packet in packets if not _is_lost(packet, track.lost)]


def _is_lost(packet: Any, spans: Sequence[tuple[float, float]]) -> bool:
    start = float(packet.pts * packet.time_base)
    end = start + float((packet.duration or 0) * packet.time_base)
    return any(first <= start and end <= last for first, last in spans)
