"""The written video: times to the tick, the source's own audio packets in step, and every failure to write is told."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.picture import plane_pixels, to_yuv420
from avol.runtime.media.source import open_source
from avol.runtime.media.writer import VideoWriter, output_ticks_per_second
from media_factory import AudioTrack, VideoTrack, bursts, damage, numbered_picture, read_number, write_media

WIDTH, HEIGHT = 96, 64
BURSTS = [0.25, 1.0, 1.75]
ONSET_SECONDS = 0.002  # of the search for a burst; Matroska's milliseconds are in it


def numbered(index: int, width: int = WIDTH, height: int = HEIGHT) -> av.VideoFrame:
    return to_yuv420(av.VideoFrame.from_ndarray(numbered_picture(index, width, height), "rgb24"))


def write(path: Path, times: list[float], **options: Any) -> VideoWriter:
    """A video whose pictures carry their index."""
    with VideoWriter(path, **({"width": WIDTH, "height": HEIGHT} | options)) as writer:
        for index, time in enumerate(times):
            writer.write(numbered(index % 256), time)
    return writer


def decoded(path: Path) -> tuple[list[float], list[int]]:
    """Times and numbers of the pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.pts * frame.time_base) for frame in frames], [
        read_number(np.asarray(frame.to_ndarray(format="rgb24"))) for frame in frames
    ]


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def onsets(path: Path, zero_seconds: float) -> list[float]:
    """When the bursts are heard, seconds after ``zero_seconds`` of the file."""
    with AudioReader(path, sample_rate_hz=48000, zero_seconds=zero_seconds) as reader:
        sound = np.abs(np.concatenate(list(reader)))
    loud = np.nonzero(sound > 0.15 * sound.max())[0]
    return [float(k) / 48000 for k, gap in zip(loud, np.diff(loud, prepend=-48000), strict=True) if gap > 9600]


def sound(codec: str, *, sample_rate: int = 48000, layout: str = "stereo", **options: Any) -> AudioTrack:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = bursts(BURSTS, seconds=2.0, sample_rate=sample_rate, channels=channels)
    return AudioTrack(samples=samples, sample_rate=sample_rate, layout=layout, codec=codec, **options)


EVEN = [k / 25 for k in range(50)]

COPIED = [
    ("clip.mp4", sound("aac")),
    ("clip.mp4", sound("aac", sample_rate=8000, layout="mono")),
    ("clip.mov", sound("aac", sample_rate=96000, layout="5.1")),
    ("clip.mkv", sound("aac", sample_rate=44100)),
    ("clip.mp4", sound("libmp3lame", sample_rate=44100)),
    ("clip.mkv", sound("libmp3lame")),
    ("sound.mp3", sound("libmp3lame")),
    ("clip.webm", sound("libopus")),
    ("clip.mp4", sound("libopus")),
    ("clip.mkv", sound("ac3", layout="5.1")),
    ("clip.mp4", sound("eac3")),
    ("clip.ts", sound("ac3")),
    ("clip.mkv", sound("flac")),
    ("clip.mov", sound("alac", layout="mono")),
    ("clip.mkv", sound("mp2")),
]


@pytest.mark.parametrize(("name", "track"), COPIED, ids=lambda value: getattr(value, "codec", value))
def test_audio_packets_are_the_sources_own_and_stay_in_place(tmp_path: Path, name: str, track: AudioTrack) -> None:
    video = None if name.endswith(".mp3") else VideoTrack(seconds=2.0, codec="libvpx" if "webm" in name else "libx264")
    path = write_media(tmp_path / name, video, track)
    source = open_source(path) if video else None
    zero = source.zero_seconds if source else 1105 / 48000  # an MP3's own priming
    writer = write(tmp_path / "out.mp4", EVEN, audio_path=path, audio_zero_seconds=zero)
    assert writer.notes == []
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(path)
    assert onsets(path, zero) == pytest.approx(BURSTS, abs=0.006)  # transport streams do not tell the priming
    assert onsets(tmp_path / "out.mp4", 0.0) == pytest.approx(onsets(path, zero), abs=0.00075)
    assert decoded(tmp_path / "out.mp4") == (EVEN, list(range(50)))


def test_aac_of_a_transport_stream_loses_only_its_headers(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.ts", VideoTrack(seconds=2.0), sound("aac"))
    zero = open_source(path).zero_seconds
    write(tmp_path / "out.mp4", EVEN, audio_path=path, audio_zero_seconds=zero)
    adts_header_bytes = 7
    assert audio_packets(tmp_path / "out.mp4") == [packet[adts_header_bytes:] for packet in audio_packets(path)]
    assert onsets(tmp_path / "out.mp4", 0.0) == pytest.approx(onsets(path, zero), abs=0.00075)


@pytest.mark.parametrize(
    ("name", "track"),
    [
        ("clip.mov", sound("pcm_s16le")),
        ("clip.avi", sound("pcm_s16le", sample_rate=8000, layout="mono")),
        ("clip.mkv", sound("pcm_f32le", sample_rate=96000, layout="5.1")),
        ("clip.mkv", sound("pcm_s16le", sample_rate=192000)),
        ("clip.mov", sound("pcm_mulaw", sample_rate=8000, layout="mono")),
        ("sound.wav", sound("pcm_s24le", sample_rate=44100)),
        ("clip.asf", sound("wmav2", sample_rate=44100, options={"b": "128000"})),
    ],
    ids=lambda value: getattr(value, "codec", value),
)
def test_what_mp4_does_not_carry_becomes_aac_and_stays_in_place(tmp_path: Path, name: str, track: AudioTrack) -> None:
    path = write_media(tmp_path / name, None if "wav" in name else VideoTrack(seconds=2.0), track)
    writer = write(tmp_path / "out.mp4", EVEN, audio_path=path)
    assert len(writer.notes) == 1
    assert "AAC" in writer.notes[0]
    with av.open(str(tmp_path / "out.mp4")) as container:
        codec = container.streams.audio[0].codec_context
        assert (codec.name, codec.layout.name) == ("aac", track.layout)
        assert codec.sample_rate == min(track.sample_rate, 48000 if track.sample_rate > 96000 else 96000)
    assert onsets(tmp_path / "out.mp4", 0.0) == pytest.approx(onsets(path, 0.0), abs=ONSET_SECONDS)


@pytest.mark.parametrize("zero_seconds", [-0.7, -0.0123, 0.111])
@pytest.mark.parametrize("codec", ["aac", "libopus", "pcm_s16le"])
def test_another_zero_moves_the_sound_by_as_much(tmp_path: Path, codec: str, zero_seconds: float) -> None:
    path = write_media(tmp_path / "sound.mkv", None, sound(codec))
    write(tmp_path / "out.mp4", EVEN, audio_path=path, audio_zero_seconds=zero_seconds)
    heard = onsets(tmp_path / "out.mp4", 0.0)
    assert heard == pytest.approx([at - zero_seconds for at in BURSTS], abs=ONSET_SECONDS)


def test_lost_packets_leave_the_others_in_place(tmp_path: Path) -> None:
    for codec, name in (("aac", "clip.mp4"), ("pcm_s16le", "clip.mkv")):
        track = sound(codec, lost=[(0.4, 0.8), (1.2, 1.3)])
        path = write_media(tmp_path / name, VideoTrack(seconds=2.0), track)
        write(tmp_path / "out.mp4", EVEN, audio_path=path)
        assert onsets(tmp_path / "out.mp4", 0.0) == pytest.approx(BURSTS, abs=ONSET_SECONDS), codec


def test_a_copy_of_a_copy_is_the_same(tmp_path: Path) -> None:
    """Edit lists, priming and a late start survive."""
    path = write_media(tmp_path / "clip.mp4", None, sound("aac"))
    write(tmp_path / "once.mp4", EVEN, audio_path=path, audio_zero_seconds=-0.3)
    write(tmp_path / "twice.mp4", EVEN, audio_path=tmp_path / "once.mp4")
    assert audio_packets(tmp_path / "twice.mp4") == audio_packets(path)
    assert onsets(tmp_path / "twice.mp4", 0.0) == pytest.approx([at + 0.3 for at in BURSTS], abs=ONSET_SECONDS)


def test_sound_can_end_with_the_video(tmp_path: Path) -> None:
    path = write_media(tmp_path / "sound.m4a", None, sound("aac"))
    times = EVEN[:25]
    write(tmp_path / "long.mp4", times, audio_path=path)
    write(tmp_path / "cut.mp4", times, audio_path=path, audio_ends_with_video=True)
    whole, cut = audio_packets(tmp_path / "long.mp4"), audio_packets(tmp_path / "cut.mp4")
    assert whole == audio_packets(path)
    assert cut == whole[: len(cut)]
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(1.0, abs=1024 / 48000)


def test_a_file_without_sound_gives_a_video_without_sound(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=0.2))
    write(tmp_path / "out.mp4", EVEN[:5], audio_path=path)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_damaged_sound_does_not_end_the_run(tmp_path: Path, codec: str) -> None:
    path = write_media(tmp_path / "whole.mkv", VideoTrack(seconds=2.0), sound(codec))
    damaged = damage(path, tmp_path / "damaged.mkv", start=0.3, end=0.6)
    write(tmp_path / "out.mp4", EVEN, audio_path=damaged)
    assert decoded(tmp_path / "out.mp4")[0] == EVEN


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
@pytest.mark.parametrize("codec", ["aac", "ac3", "libmp3lame"])
def test_packets_that_no_decoder_takes_are_left_out_and_counted(tmp_path: Path, name: str, codec: str) -> None:
    """Browsers end the playback at one of them; the others stay in place."""
    path = write_media(tmp_path / name, VideoTrack(seconds=2.0), sound(codec))
    packets, data = audio_packets(path), path.read_bytes()
    spoilt = [packet for packet in packets[4 : len(packets) // 2] if data.count(packet) == 1][:4]
    for packet in spoilt:
        data = data.replace(packet, b"\xff" * len(packet))
    path.write_bytes(data)
    refused = 0
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            try:
                packet.decode()
            except av.FFmpegError:
                refused += 1
    assert 1 <= refused <= len(spoilt)
    writer = write(tmp_path / "out.mp4", EVEN, audio_path=path)
    assert writer.notes == [f"{path}: audio packets damaged, played as silence: {refused}."]
    kept = audio_packets(tmp_path / "out.mp4")
    intact = [packet for packet in packets if packet not in spoilt]
    assert set(kept) <= set(intact)
    # MP3 and AC-3 are parsed: what does not begin like a packet, and the next one, may come as one.
    assert 0 <= len(intact) - len(kept) <= (0 if codec == "aac" else 1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert all(frame.samples for packet in container.demux(audio=0) for frame in packet.decode())
    assert onsets(tmp_path / "out.mp4", 0.0)[-1] == pytest.approx(onsets(path, 0.0)[-1], abs=ONSET_SECONDS)


def test_an_unusable_sound_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match=r"missing\.wav"):
        VideoWriter(tmp_path / "out.mp4", width=96, height=64, audio_path=tmp_path / "missing.wav")
    assert list(tmp_path.iterdir()) == []


time_bases = st.sampled_from(
    [
        Fraction(1, 90000),
        Fraction(1, 1000),
        Fraction(1, 15360),
        Fraction(1001, 30000),
        Fraction(1, 25),
        Fraction(1, 600),
    ]
)


@settings(max_examples=25, deadline=None)
@given(time_base=time_bases, first=st.integers(0, 40), seed=st.integers(0, 1000), count=st.integers(1, 70))
def test_every_tick_of_the_sources_clock_is_kept(
    tmp_path_factory: pytest.TempPathFactory, time_base: Fraction, first: int, seed: int, count: int
) -> None:
    chance = random.Random(seed)
    ticks = [first]
    for _ in range(count - 1):
        ticks.append(ticks[-1] + chance.choice([1, 1, 2, 7, max(1, round(0.04 / time_base)), round(1 / time_base)]))
    times = [float(tick * time_base) for tick in ticks]
    path = tmp_path_factory.mktemp("writer") / "out.mp4"
    write(path, times, time_base=time_base)
    read, numbers = decoded(path)
    assert read == pytest.approx(times, abs=1e-9)
    assert numbers == list(range(count))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # What the file says of its length holds the last picture, and not more than reordering adds.
        end = float((stream.start_time + stream.duration) * stream.time_base)
    last_seconds = times[-1] - times[-2] if count > 1 else 0.04
    # The last packet is not the last picture: it may keep its own duration, and the encoder's delay counts in ticks of
    # the first pictures. Where the rate varies, both are bounded by the longest three intervals in the file.
    reordered_seconds = max(times[i] - times[max(0, i - 3)] for i in range(count))
    assert -1e-4 <= end - (times[-1] + last_seconds) <= reordered_seconds + 1e-4


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
@pytest.mark.parametrize("count", [1, 2, 5, 61])
def test_the_length_is_exact_where_the_rate_is_constant(tmp_path: Path, rate: int, count: int) -> None:
    times = [k / rate for k in range(count)]
    write(tmp_path / "out.mp4", times, time_base=Fraction(1, rate), frame_rate=Fraction(rate))
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(count / rate, abs=2e-4)
        assert container.duration / 1e6 == pytest.approx(count / rate, abs=2e-4)


@pytest.mark.parametrize(
    ("time_base", "ticks"),
    [(Fraction(1, 25), 10000), (Fraction(1001, 30000), 30000), (Fraction(1, 1_000_000), 1_000_000)],
)
def test_the_outputs_clock(time_base: Fraction, ticks: int) -> None:
    assert output_ticks_per_second(time_base) == ticks
    assert (time_base * ticks).denominator == 1


@pytest.mark.parametrize("ticks", [1_200_000, 1_000_000_000])
def test_a_clock_finer_than_pictures_need_becomes_the_usual_one(ticks: int) -> None:
    assert output_ticks_per_second(Fraction(1, ticks)) == 90_000


def test_times_that_repeat_or_run_back_are_nudged(tmp_path: Path) -> None:
    times = [0.0, 0.0, 0.04, 0.02, 0.08, -1.0, 0.2]
    write(tmp_path / "out.mp4", times, time_base=Fraction(1, 25))
    read, numbers = decoded(tmp_path / "out.mp4")
    assert numbers == list(range(7))
    assert read == pytest.approx([0.0, 0.0001, 0.04, 0.0401, 0.08, 0.0801, 0.2])


def test_pictures_that_start_late_keep_their_place_beside_the_sound(tmp_path: Path) -> None:
    path = write_media(tmp_path / "sound.m4a", None, sound("aac"))
    times = [0.5 + k / 30 for k in range(30)]
    write(tmp_path / "out.mp4", times, time_base=Fraction(1, 30), audio_path=path)
    assert decoded(tmp_path / "out.mp4")[0] == pytest.approx(times, abs=1e-9)
    assert onsets(tmp_path / "out.mp4", 0.0) == pytest.approx(BURSTS, abs=ONSET_SECONDS)
    assert open_source(tmp_path / "out.mp4").zero_seconds == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(64, 45), Fraction(8, 9)])
def test_the_shape_of_pixels_is_kept(tmp_path: Path, aspect: Fraction) -> None:
    write(tmp_path / "out.mp4", EVEN[:3], sample_aspect_ratio=aspect)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", width=95, height=63) as writer:
        writer.write(numbered(0), 0.0)
        with pytest.raises(ValueError, match="expected yuv420p 96x64"):
            writer.write(numbered(1, 94, 62), 0.04)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (96, 64)


@pytest.mark.parametrize(("matrix", "primaries", "transfer"), [(1, 1, 1), (6, 6, 6), (9, 9, 16), (2, 2, 2)])
def test_colour_tags_are_kept(tmp_path: Path, matrix: int, primaries: int, transfer: int) -> None:
    with VideoWriter(tmp_path / "out.mp4", width=WIDTH, height=HEIGHT) as writer:
        for index in range(3):
            picture = numbered(index)
            picture.colorspace, picture.color_primaries, picture.color_trc = matrix, primaries, transfer
            writer.write(picture, index / 25)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (matrix, primaries, transfer)
    assert frame.color_range in {ColorRange.MPEG, ColorRange.UNSPECIFIED}  # the same in H.264


def test_the_index_is_in_front(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", EVEN[:5])
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_no_picture_is_one_line_and_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(AvolError, match=r"^clip\.avol\.mp4: no picture to write"),
        VideoWriter(tmp_path / "out.mp4", width=96, height=64, shown_as=Path("clip.avol.mp4")),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_no_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=2.0), sound("aac"))

    def stop() -> None:
        with VideoWriter(tmp_path / "out.mp4", width=WIDTH, height=HEIGHT, audio_path=path) as writer:
            for index, time in enumerate(EVEN):
                writer.write(numbered(index), time)
            raise error

    with pytest.raises(error):
        stop()
    assert [left.name for left in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_place_that_takes_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match=r"^out\.mp4: cannot be written: No such file"):
        write(tmp_path / "missing" / "x.mp4", EVEN, shown_as=Path("out.mp4"))


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    writer = write(tmp_path / "out.mp4", EVEN[:3])
    writer.close()
    assert decoded(tmp_path / "out.mp4")[0] == EVEN[:3]


DISK_PROGRAM = f"""
    import resource, sys
    from pathlib import Path
    import av, numpy as np
    from avol.runtime.errors import AvolError
    from avol.runtime.media.writer import VideoWriter

    noise = np.random.default_rng(0).integers(16, 236, (40, 96 * 3 // 2, 128), np.uint8)

    def write(path, sound):
        with VideoWriter(
            path, width=128, height=96, audio_path=sound, spooled=spooled, shown_as=Path("clip.avol.mp4")
        ) as writer:
            for index, planes in enumerate(noise):
                writer.write(av.VideoFrame.from_ndarray(planes, "yuv420p"), index / 25)

    path, sound, spooled = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "spooled"
    write(path, sound)
    size = path.stat().st_size
    path.unlink()
    limits = [0, 1, 4000, size // 3, size // 2, *range(size - 4000, size, 400), size - 1]
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, {resource.RLIM_INFINITY}))
        try:
            write(path, sound)
        except AvolError as error:
            assert str(error).startswith("clip.avol.mp4: cannot be written: File too large"), error
            assert not path.exists(), limit
        else:
            sys.exit(f"{{limit}} of {{size}} bytes were enough")
    enough = size + 80 * 40 * spooled  # each waiting packet has a head
    resource.setrlimit(resource.RLIMIT_FSIZE, (enough, {resource.RLIM_INFINITY}))
    write(path, sound)
    assert path.stat().st_size == size
    print(len(limits), "limits")
"""


@pytest.mark.parametrize("how", ["direct", "spooled"])
def test_a_full_disk_is_told_wherever_it_happens(tmp_path: Path, how: str) -> None:
    """In the header, the pictures, the index or the last byte; in a process of its own, with a limit on file sizes."""
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=2.0), sound("aac"))
    command = [sys.executable, "-c", textwrap.dedent(DISK_PROGRAM), str(tmp_path / "out.mp4"), str(path), how]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (result.stderr, result.stdout) == ("", "16 limits\n")
    assert {child.name for child in tmp_path.iterdir()} == {"clip.mp4", "out.mp4"}


def test_pictures_are_encoded_well(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4", EVEN[:10])
    with av.open(str(tmp_path / "out.mp4")) as container:
        for index, frame in enumerate(container.decode(video=0)):
            error = plane_pixels(frame.planes[0]).astype(float) - plane_pixels(numbered(index).planes[0])
            assert np.sqrt(np.mean(error**2)) < 6


@pytest.mark.parametrize(("name", "track"), COPIED, ids=lambda value: getattr(value, "codec", value))
def test_packets_that_wait_on_disk_make_the_same_video(tmp_path: Path, name: str, track: AudioTrack) -> None:
    video = None if name.endswith(".mp3") else VideoTrack(seconds=2.0, codec="libvpx" if "webm" in name else "libx264")
    path = write_media(tmp_path / name, video, track)
    found = []
    for spooled in (False, True):
        out = tmp_path / f"{spooled}.mp4"
        write(out, [0.1, *EVEN[7:40]], audio_path=path, audio_zero_seconds=0.3, spooled=spooled)
        found.append(described(out))
    assert found[0] == found[1]
    assert {child.name for child in tmp_path.iterdir()} == {name, "False.mp4", "True.mp4"}


def described(path: Path) -> dict[str, object]:
    """Everything that a reader sees: packets with their times and flags, lengths, metadata."""
    with av.open(str(path)) as container:
        streams = [
            (s.type, s.start_time, s.duration, s.time_base, s.codec_context.extradata) for s in container.streams
        ]
        head = container.start_time, container.duration, dict(container.metadata)
        packets = [
            (
                p.stream_index,
                p.pts,
                p.dts,
                p.duration,
                p.is_keyframe,
                p.pos,
                bytes(p),
                [item.data_type for item in p.iter_sidedata()],
            )
            for p in container.demux()
        ]
    return {"streams": streams, "head": head, "packets": packets}
