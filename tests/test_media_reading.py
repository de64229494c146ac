"""What the readers give is where and when the file says: pictures upright and coloured right, sound on the sample."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from avol.runtime.media.audio import JITTER_SECONDS, AudioReader, SampleLine
from avol.runtime.media.picture import resize_frame, turn_upright
from avol.runtime.media.source import Source, open_source
from avol.runtime.media.video import AnalysisClock, VideoFrame, VideoReader, read_picture
from media_factory import (
    BACKGROUND,
    SQUARE,
    AudioTrack,
    Rgb,
    Samples,
    VideoTrack,
    bursts,
    find_square,
    numbered_picture,
    read_number,
    write_media,
    write_picture,
)

SIZE = 128


def read_video(path: Path, rate_hz: float = 10) -> tuple[Source, list[VideoFrame], list[str]]:
    source = open_source(path)
    with VideoReader(source, frame_height=SIZE, frame_width=SIZE, rate_hz=rate_hz) as reader:
        frames = list(reader)
    return source, frames, reader.warnings


def read_audio(path: Path, sample_rate_hz: int = 16000, zero_seconds: float | None = None) -> Samples:
    if zero_seconds is None:
        zero_seconds = open_source(path).audio_zero_seconds
    with AudioReader(path, sample_rate_hz=sample_rate_hz, zero_seconds=zero_seconds) as reader:
        chunks = list(reader)
    assert not reader.warnings
    assert all(chunk.dtype == np.float32 and chunk.ndim == 1 and chunk.size for chunk in chunks)
    return np.concatenate(chunks)


def lag_samples(samples: Samples, reference: Samples) -> int:
    """By how many samples the first is late against the second."""
    size = 1 << math.ceil(math.log2(samples.size + reference.size))
    spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(reference, size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    return lag if lag < size // 2 else lag - size


def corners(index: int, width: int, height: int) -> Rgb:
    """Four quarters in different colours."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (200, 40, 40)
    picture[: height // 2, width // 2 :] = (40, 180, 40)
    picture[height // 2 :, : width // 2] = (40, 40, 200)
    picture[height // 2 :, width // 2 :] = (210, 210, 60)
    return picture


def quarter_colours(pixels: Rgb) -> list[list[int]]:
    height, width = pixels.shape[:2]
    return [pixels[y, x].tolist() for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


# --- time of pictures


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov", "avi", "flv"])
def test_times_are_decoded_timestamps(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    track = VideoTrack(seconds=1.2, rate=25, codec=codec, options={"bf": "2"})
    path = write_media(tmp_path / f"clip.{suffix}", track)
    source, frames, warnings = read_video(path)
    with av.open(str(path)) as container:
        expected = [float(f.pts * f.time_base) for f in container.decode(video=0) if f.pts is not None]
    assert [f.time_seconds for f in frames] == pytest.approx([t - expected[0] for t in expected], abs=1e-9)
    assert source.zero_seconds == pytest.approx(expected[0])
    assert len(frames) == 30
    assert frames[0].time_seconds == 0.0
    assert source.duration_seconds == pytest.approx(1.2, abs=0.09)
    assert source.frame_rate == pytest.approx(25)
    assert warnings == []


def test_variable_frame_rate_keeps_its_times_and_analyses_the_first_frame_of_each_cell(tmp_path: Path) -> None:
    times = [0, 0.01, 0.05, 0.099, 0.101, 0.3, 0.31, 0.75, 2.0, 2.02, 2.1]
    _, frames, _ = read_video(write_media(tmp_path / "clip.mp4", VideoTrack(times=times)))
    assert [f.time_seconds for f in frames] == pytest.approx(times, abs=1e-4)
    assert [read_number(f.pixels) for f in frames if f.pixels is not None] == [0, 3, 5, 7, 8, 10]


@pytest.mark.parametrize("rate_hz", [0.5, 3, 10, 24, 25, 100])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_analysed_frames_are_the_ones_that_carry_their_pixels(tmp_path: Path, suffix: str, rate_hz: float) -> None:
    path = write_media(tmp_path / f"clip.{suffix}", VideoTrack(seconds=3.0, rate=25))
    _, frames, _ = read_video(path, rate_hz)
    expected = sorted({math.ceil(k / rate_hz * 25 - 1e-6) for k in range(math.ceil(3 * rate_hz))} & set(range(75)))
    assert [read_number(f.pixels) for f in frames if f.pixels is not None] == expected
    assert [k for k, f in enumerate(frames) if f.pixels is not None] == expected


def test_a_rate_at_the_frame_rate_takes_every_frame_of_a_millisecond_clock(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.mkv", VideoTrack(times=[k / 30 for k in range(60)], rate=30))
    _, frames, _ = read_video(path, 30)
    assert all(f.pixels is not None for f in frames)


def test_pts_that_are_only_decoding_order_are_not_believed(tmp_path: Path) -> None:
    """AVI cannot hold the pts of H.264 with B-frames; its demuxer numbers packets instead."""
    path = write_media(tmp_path / "clip.avi", VideoTrack(seconds=2.0, rate=25, options={"bf": "2"}))
    _, frames, _ = read_video(path, 100)
    numbers = [read_number(f.pixels) for f in frames if f.pixels is not None]
    assert numbers == sorted(numbers)
    assert len(numbers) >= 48
    errors = [f.time_seconds - number / 25 for f, number in zip(frames, numbers, strict=True)]
    assert max(errors) - min(errors) < 2.5 / 25


def test_raw_stream_without_timestamps_is_timed_by_its_rate(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.h264", VideoTrack(seconds=1.0, rate=25, options={"bf": "2"}))
    source, frames, _ = read_video(path)
    assert [f.time_seconds for f in frames] == pytest.approx([k / 25 for k in range(25)])
    assert source.duration_seconds == pytest.approx(1.0)


@given(
    st.lists(st.floats(0.0005, 3), min_size=1, max_size=200),
    st.floats(0, 5),
    st.floats(0.1, 120),
)
@settings(deadline=None)
def test_clock_takes_the_first_frame_of_every_cell(steps: list[float], first: float, rate_hz: float) -> None:
    times = first + np.cumsum([0.0, *steps])
    clock = AnalysisClock(rate_hz)
    chosen = [float(time) for time in times if clock.due(float(time))]
    tolerance = min(AnalysisClock.TOLERANCE_SECONDS, 0.1 / rate_hz)
    cells = [math.floor((time + tolerance) * rate_hz) for time in chosen]
    assert chosen[0] == times[0]
    assert cells == sorted(set(cells)), "one analysis per cell"
    assert set(cells) == {math.floor((float(time) + tolerance) * rate_hz) for time in times}, "no cell is missed"


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, math.inf])
def test_clock_refuses_a_rate_that_is_none(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        AnalysisClock(rate_hz)


# --- place and colour


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 65)])
def test_rotated_pictures_are_upright(tmp_path: Path, rotation: int, mirrored: bool, width: int, height: int) -> None:
    track = VideoTrack(
        width=width, height=height, rotation=rotation, mirrored=mirrored, pixel_format="yuv444p", seconds=0.4
    )
    source, frames, _ = read_video(write_media(tmp_path / "clip.mp4", track))
    upright = (height, width) if rotation % 180 else (width, height)
    assert (source.width, source.height) == (source.picture_width, source.picture_height) == upright
    for frame in frames:
        assert (frame.picture.width, frame.picture.height) == upright
        whole = frame.picture.to_ndarray(format="rgb24")
        views = [whole] if frame.pixels is None else [whole, frame.pixels]
        for pixels in views:
            assert find_square(pixels) == pytest.approx((0.25, 0.6), abs=0.025)
            assert read_number(pixels) == round(frame.time_seconds * 25)


def test_turned_picture_keeps_time_and_colour_tags(tmp_path: Path) -> None:
    track = VideoTrack(rotation=90, matrix="bt709", start_seconds=0.5, picture=corners, seconds=0.2)
    with av.open(str(write_media(tmp_path / "clip.mp4", track))) as container:
        stored = next(container.decode(video=0))
        turned = turn_upright(stored)
        assert (turned.pts, turned.time_base) == (stored.pts, stored.time_base)
        assert (turned.colorspace, turned.color_range) == (1, 1)
        assert turned.rotation == 0
        assert turn_upright(turned) is turned
        small = resize_frame(turned, height=SIZE, width=SIZE).astype(int)
        assert np.abs(small - resize_frame(stored, height=SIZE, width=SIZE)).mean() < 1.5


@pytest.mark.parametrize(("rotation", "displayed"), [(0, (128, 64)), (90, (64, 128))])
def test_anamorphic_pixels_count_in_the_displayed_size(
    tmp_path: Path, rotation: int, displayed: tuple[int, int]
) -> None:
    track = VideoTrack(sample_aspect_ratio=Fraction(4, 3), rotation=rotation, seconds=0.2)
    source, frames, _ = read_video(write_media(tmp_path / "clip.mp4", track))
    assert (source.width, source.height) == displayed
    assert (source.picture_width, source.picture_height) == ((64, 96) if rotation else (96, 64))
    assert source.sample_aspect_ratio == (Fraction(3, 4) if rotation else Fraction(4, 3))
    assert frames[0].pixels is not None
    assert find_square(frames[0].pixels) == pytest.approx((0.25, 0.6), abs=0.02)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "width", "height"),
    [
        ("libx264", "yuv444p", 97, 65),
        ("libx264", "yuv420p10le", 96, 64),
        ("libx264", "yuv422p", 96, 63),
        ("libx265", "yuv420p10le", 96, 64),
        ("libvpx-vp9", "yuv420p", 95, 63),
        ("ffv1", "yuv420p", 99, 51),
        ("ffv1", "yuva420p", 96, 64),
        ("ffv1", "bgra", 96, 64),
        ("ffv1", "yuv422p16le", 96, 64),
        ("ffv1", "bgr0", 1000, 16),
        ("mjpeg", "yuvj422p", 96, 64),
    ],
)
def test_pixel_formats_and_odd_sizes(tmp_path: Path, codec: str, pixel_format: str, width: int, height: int) -> None:
    track = VideoTrack(
        codec=codec, pixel_format=pixel_format, width=width, height=height, seconds=0.2, full_range="j" in pixel_format
    )
    source, frames, _ = read_video(write_media(tmp_path / "clip.mkv", track))
    assert (source.width, source.height) == (width, height)
    pixels = frames[0].pixels
    assert pixels is not None
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.flags.c_contiguous
    x, y = find_square(numbered_picture(0, width, height))
    assert find_square(pixels) == pytest.approx((x, y), abs=0.025)
    assert np.abs(pixels[int(y * SIZE), int(x * SIZE)].astype(int) - SQUARE).max() <= 12
    assert np.abs(pixels[-8, -8].astype(int) - BACKGROUND).max() <= 3


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("size", [(128, 128), (320, 180), (50, 40)])
def test_colour_matrix_and_range_are_respected(
    tmp_path: Path, matrix: str, full_range: bool, size: tuple[int, int]
) -> None:
    track = VideoTrack(
        codec="ffv1", width=size[0], height=size[1], matrix=matrix, full_range=full_range, picture=corners, seconds=0.1
    )
    _, frames, _ = read_video(write_media(tmp_path / "clip.mkv", track))
    assert frames[0].pixels is not None
    seen, meant = quarter_colours(frames[0].pixels), quarter_colours(corners(0, 64, 64))
    assert np.abs(np.subtract(seen, meant)).max() <= 2


@pytest.mark.parametrize(("height", "matrix"), [(480, "bt601"), (720, "bt709")])
@pytest.mark.parametrize("reserved_tag", [2, 3, 8])
def test_an_unnamed_matrix_is_guessed_from_the_height(height: int, matrix: str, reserved_tag: int) -> None:
    colour = av.VideoFrame.from_ndarray(corners(0, 64, height))
    frame = colour.reformat(format="yuv420p", dst_colorspace={"bt601": 5, "bt709": 1}[matrix], dst_color_range=1)
    frame.colorspace = reserved_tag
    seen = quarter_colours(resize_frame(frame, height=SIZE, width=SIZE))
    assert np.abs(np.subtract(seen, quarter_colours(corners(0, 64, 64)))).max() <= 3
    assert frame.colorspace == reserved_tag, "the frame that is shown stays as it was"


def test_every_source_pixel_counts(tmp_path: Path) -> None:
    """AREA: thin lines become their mean grey instead of coming and going as nearest neighbours would."""
    lines = np.zeros((1024, 1024, 3), np.uint8)
    lines[::4] = 240
    pixels = read_picture(write_picture(tmp_path / "lines.png", lines), height=SIZE, width=SIZE)
    assert np.abs(pixels.astype(int) - 60).max() <= 2


def test_interlaced_combs_do_not_reach_the_network(tmp_path: Path) -> None:
    def comb(index: int, width: int, height: int) -> Rgb:
        picture = np.full((height, width, 3), 40, np.uint8)
        picture[::2, : width // 2] = picture[1::2, width // 2 :] = 220
        return picture

    options = {"x264-params": "interlaced=1:tff=1"}
    track = VideoTrack(width=320, height=240, picture=comb, options=options, seconds=0.1)
    _, frames, _ = read_video(write_media(tmp_path / "clip.mkv", track))
    assert frames[0].picture.interlaced_frame
    assert frames[0].pixels is not None
    assert np.abs(frames[0].pixels[8:-8, 8:48].astype(int) - 130).max() <= 6


def test_a_size_change_on_the_way_keeps_the_first_size(tmp_path: Path) -> None:
    parts = [
        write_media(tmp_path / "a.h264", VideoTrack(seconds=0.4)),
        write_media(tmp_path / "b.h264", VideoTrack(seconds=0.4, width=160, height=120)),
    ]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    source, frames, _ = read_video(joined)
    assert len(frames) == 20
    assert {(f.picture.width, f.picture.height) for f in frames} == {(96, 64)} == {(source.width, source.height)}
    last = frames[-1].picture.to_ndarray(format="rgb24")
    assert find_square(last) == pytest.approx((0.25, 0.6), abs=0.03)
    assert read_number(last) == 9


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, 1), (8, -1)])
def test_pictures_follow_exif_rotation(tmp_path: Path, orientation: int, quarter_turns: int) -> None:
    stored = np.ascontiguousarray(np.rot90(numbered_picture(5, 160, 96), quarter_turns))
    path = write_picture(tmp_path / "photo.jpg", stored, exif_orientation=orientation)
    pixels = read_picture(path, height=SIZE, width=SIZE)
    assert find_square(pixels) == pytest.approx((0.25, 0.6), abs=0.02)
    assert read_number(pixels) == 5


def test_a_png_and_a_lossless_video_frame_give_the_same_pixels(tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "photo.png", numbered_picture(9, 300, 200))
    track = VideoTrack(
        codec="ffv1", pixel_format="bgr0", width=300, height=200, picture=lambda _, w, h: numbered_picture(9, w, h)
    )
    _, frames, _ = read_video(write_media(tmp_path / "clip.mkv", track))
    difference = read_picture(picture, height=SIZE, width=SIZE).astype(int) - frames[0].pixels
    assert np.abs(difference).max() <= 1


# --- sound

LAYOUTS = [("mono", 1), ("stereo", 2), ("5.1", 6)]


@pytest.mark.parametrize("target_rate", [16000, 48000])
@pytest.mark.parametrize(("layout", "channels"), LAYOUTS)
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_sound_is_aligned_to_the_sample(
    tmp_path: Path, rate: int, layout: str, channels: int, target_rate: int
) -> None:
    wave = bursts([0.25, 0.6], seconds=1.0, sample_rate=rate, channels=channels)
    track = AudioTrack(samples=wave, sample_rate=rate, layout=layout, codec="pcm_s16le")
    samples = read_audio(write_media(tmp_path / "clip.mkv", VideoTrack(seconds=1.0), track), target_rate)
    factor = Fraction(target_rate, rate)
    expected = resample_poly(wave[0], factor.numerator, factor.denominator).astype(np.float32)
    assert samples.size == target_rate
    assert lag_samples(samples, expected) == 0
    middle = slice(int(0.05 * target_rate), int(0.95 * target_rate))
    if rate >= 22050:
        assert np.abs(samples[middle] - expected[middle]).max() < 0.03


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [
        ("mp4", "aac", 44100),
        ("mp4", "aac", 8000),
        ("mkv", "aac", 48000),
        ("mp4", "libmp3lame", 44100),
        ("mkv", "libmp3lame", 22050),
        ("webm", "libopus", 48000),
        ("mkv", "flac", 44100),
        ("mp4", "ac3", 48000),
        ("mov", "pcm_s16le", 44100),
    ],
)
def test_codecs_with_priming_stay_aligned(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    wave = bursts([0.3, 0.9], seconds=1.5, sample_rate=rate)
    video = VideoTrack(seconds=1.5, codec="libvpx-vp9" if suffix == "webm" else "libx264")
    path = write_media(tmp_path / f"clip.{suffix}", video, AudioTrack(samples=wave, sample_rate=rate, codec=codec))
    source = open_source(path)
    samples = read_audio(path)
    expected = bursts([0.3 - source.zero_seconds, 0.9 - source.zero_seconds], seconds=1.5, sample_rate=16000)[0]
    assert lag_samples(samples, expected) == pytest.approx(0, abs=16 if suffix in {"mkv", "webm"} else 1)
    assert source.audio_sample_rate == rate


def test_transport_stream_offset_disappears(tmp_path: Path) -> None:
    wave = bursts([0.3, 0.9], seconds=1.5, sample_rate=48000)
    video = VideoTrack(seconds=1.5, start_seconds=1.4)
    path = write_media(tmp_path / "clip.ts", video, AudioTrack(samples=wave, start_seconds=1.4))
    source, frames, _ = read_video(path)
    # The stream does not say that its first 1024 samples are priming, so the sound starts that much earlier.
    assert source.zero_seconds == pytest.approx(1.4 - 1024 / 48000, abs=1e-3)
    assert frames[0].time_seconds == pytest.approx(1024 / 48000, abs=1e-3)
    expected = bursts([0.3 + 1024 / 48000, 0.9 + 1024 / 48000], seconds=1.6, sample_rate=16000)[0]
    assert abs(lag_samples(read_audio(path), expected)) <= 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("video_start", "audio_start"), [(0.0, 0.7), (0.7, 0.0), (2.0, 2.5), (0.0, 0.003)])
def test_streams_that_start_late_keep_their_distance(
    tmp_path: Path, suffix: str, video_start: float, audio_start: float
) -> None:
    wave = bursts([0.2, 0.6], seconds=1.0, sample_rate=16000)
    track = AudioTrack(
        samples=wave, sample_rate=16000, codec="mp2" if suffix == "ts" else "aac", start_seconds=audio_start
    )
    path = write_media(tmp_path / f"clip.{suffix}", VideoTrack(start_seconds=video_start), track)
    source, frames, _ = read_video(path)
    zero = min(video_start, audio_start)
    codec_delay = 0.0301 if suffix == "ts" else 0.0  # MP2's, of which a transport stream says nothing
    shift = audio_start - video_start + frames[0].time_seconds
    expected = bursts([0.2 + shift, 0.6 + shift], seconds=1.0 + shift, sample_rate=16000)[0]
    assert min(frames[0].time_seconds, shift) == pytest.approx(0.0, abs=0.035)
    assert frames[0].time_seconds == pytest.approx(video_start - zero, abs=0.035)
    assert lag_samples(read_audio(path), expected) == pytest.approx(codec_delay * 16000, abs=8 + 500 * (suffix == "ts"))
    assert source.audio_zero_seconds == source.zero_seconds


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_lost_packets_become_silence_of_their_length(tmp_path: Path, suffix: str) -> None:
    wave = bursts([0.3, 0.8, 1.6], seconds=2.0, sample_rate=48000)
    track = AudioTrack(samples=wave, lost=[(0.7, 1.2)])
    samples = read_audio(write_media(tmp_path / f"clip.{suffix}", VideoTrack(seconds=2.0), track))
    expected = bursts([0.3, 1.6], seconds=2.0, sample_rate=16000)[0]
    assert abs(lag_samples(samples[24000:], expected[24000:])) <= 16 * (suffix == "mkv")
    assert abs(lag_samples(samples[:8000], expected[:8000])) <= 16 * (suffix == "mkv")
    assert np.abs(samples[12000:19000]).max() < 0.02
    assert samples.size == pytest.approx(32000, abs=900)


def test_zero_cuts_what_lies_before_it(tmp_path: Path) -> None:
    wave = bursts([0.5], seconds=1.0, sample_rate=16000)
    track = AudioTrack(samples=wave, sample_rate=16000, codec="pcm_s16le")
    path = write_media(tmp_path / "sound.wav", None, track)
    for zero in (0.25, 0.30003, -0.5):
        samples = read_audio(path, zero_seconds=zero)
        assert samples.size == round((1.0 - zero) * 16000)
        assert np.abs(samples[-8000:] - wave[0, -8000:]).max() < 1e-3


def test_full_scale_in_every_channel_does_not_clip(tmp_path: Path) -> None:
    time = np.arange(24000) / 48000
    for layout, channels in LAYOUTS:
        wave = np.tile(0.99 * np.sin(2 * np.pi * 440 * time), (channels, 1)).astype(np.float32)
        track = AudioTrack(samples=wave, layout=layout, codec="pcm_f32le")
        samples = read_audio(write_media(tmp_path / f"{channels}.mkv", VideoTrack(), track))
        assert np.abs(samples).max() <= 1.0
        spectrum = np.abs(np.fft.rfft(samples[1600:6400] * np.hanning(4800)))
        assert spectrum[130:135].max() > 100 * np.delete(spectrum, slice(125, 140)).max(), "a clean sine"


def test_other_sound_starts_at_its_own_zero(tmp_path: Path) -> None:
    clip = write_media(tmp_path / "clip.mp4", VideoTrack(start_seconds=1.0))
    wave = bursts([0.2], seconds=0.8, sample_rate=44100)
    other = write_media(
        tmp_path / "song.mp3", None, AudioTrack(samples=wave, sample_rate=44100, codec="libmp3lame"), cover=True
    )
    source = open_source(clip, other)
    assert (source.path, source.audio_path, source.sound_path) == (clip, other, other)
    assert source.audio_sample_rate == 44100
    samples = read_audio(source.sound_path, zero_seconds=source.audio_zero_seconds)
    assert lag_samples(samples, bursts([0.2], seconds=0.8, sample_rate=16000)[0]) == 0


def test_no_sound_and_silent_sound_are_told_apart(tmp_path: Path) -> None:
    mute = open_source(write_media(tmp_path / "mute.mp4", VideoTrack()))
    assert mute.audio_sample_rate is None
    silence = AudioTrack(samples=np.zeros((2, 48000), np.float32), layout="stereo")
    path = write_media(tmp_path / "silent.mp4", VideoTrack(), silence)
    assert open_source(path).audio_sample_rate == 48000
    assert not read_audio(path).any()


def test_a_clip_of_three_tenths_and_short_sound(tmp_path: Path) -> None:
    wave = bursts([0.05], seconds=0.2, sample_rate=48000)
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=0.3), AudioTrack(samples=wave))
    source, frames, _ = read_video(path)
    assert len(frames) == 8
    assert source.duration_seconds == pytest.approx(0.32, abs=0.03)
    assert 3200 <= read_audio(path).size <= 3200 + 400


@given(
    st.lists(st.tuples(st.integers(0, 400), st.one_of(st.none(), st.integers(-300, 3000))), min_size=1, max_size=20),
    st.integers(-500, 3000),
)
@settings(deadline=None)
def test_sample_line_never_leaves_the_timestamps(blocks: list[tuple[int, int | None]], first: int) -> None:
    """Blocks at arbitrary times, some lost, some overlapping: what is placed lies where its time says."""
    rate, cursor, line, placed = 1000, first, SampleLine(1000), 0
    for index, (size, jump) in enumerate(blocks):
        cursor += jump or 0
        block = np.arange(cursor, cursor + size, dtype=np.float32)  # a sample's value is its own time
        time = None if jump is None and index else cursor / rate
        parts = list(line.place(block, time))
        for part in parts:
            assert 0 < part.size <= max(rate, size)
            if part.any():
                known = part[part != 0]
                position = placed + np.flatnonzero(part)
                if time is not None:
                    assert np.abs(known - position).max() <= (JITTER_SECONDS * rate if index else 0)
            placed += part.size
        assert line.time == Fraction(placed, rate)
        cursor = placed if time is None else max(cursor + size, placed)


def test_sample_line_fills_hours_in_small_pieces() -> None:
    line = SampleLine(100)
    parts = list(line.place(np.ones(5, np.float32), 7200.0))
    assert max(part.size for part in parts) == 100
    assert sum(part.size for part in parts) == 720_005
