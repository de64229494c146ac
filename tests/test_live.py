"""Live streams: pictures and sound stay in step, the newest goes first, and a stream that breaks off comes back."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.live import LiveFinding, LiveMeter, localise_live
from avol.runtime.live_buffer import MOST_PICTURES, SOUND_PATIENCE_SECONDS, LiveBuffer, LivePicture
from avol.runtime.live_input import LiveSource, shown
from fake_system import SquareSystem
from live_sender import FRAME_RATE, NUMBERS, LiveSender, LossyRelay, free_udp_port, loud_at
from media_factory import read_number
from rtsp_server import StreamServer

RATE, WINDOW = 1000, 400
ENOUGH = 25  # findings


def picture(time_seconds: float, *, age_seconds: float = 0.0) -> LivePicture:
    pixels = np.zeros((4, 4, 3), np.uint8)
    return LivePicture(time_seconds, time.monotonic() - age_seconds, pixels, av.VideoFrame(4, 4, "yuv420p"))


def ramp(start: int, count: int) -> NDArray[np.float32]:
    """Samples that know their number."""
    return np.arange(start, start + count, dtype=np.float32)


def test_the_newest_picture_with_its_sound_goes_first_and_stale_ones_are_counted() -> None:
    buffer = LiveBuffer(rate_hz=RATE, window_samples=WINDOW)
    for step in range(10):
        buffer.add_picture(picture(step / 10))
    buffer.add_samples(0, ramp(0, 850))  # enough for the picture at 0.6 s
    moment = buffer.take(0.0)
    assert moment is not None
    assert (moment.picture.time_seconds, moment.dropped) == (0.6, 6)
    assert np.array_equal(moment.samples, ramp(400, 400))
    assert buffer.take(0.0) is None
    buffer.add_samples(850, ramp(850, 200))
    moment = buffer.take(0.0)
    assert moment is not None
    assert (moment.picture.time_seconds, moment.dropped) == (0.8, 1)


def test_a_picture_whose_sound_never_comes_is_given_with_silence() -> None:
    buffer = LiveBuffer(rate_hz=RATE, window_samples=WINDOW)
    buffer.add_samples(0, np.ones(100, np.float32))
    buffer.add_picture(picture(0.1, age_seconds=WINDOW / 2 / RATE + SOUND_PATIENCE_SECONDS + 0.1))
    moment = buffer.take(0.0)
    assert moment is not None
    assert moment.samples.tolist() == [0.0] * 100 + [1.0] * 100 + [0.0] * 200


def test_a_stream_without_sound_waits_for_none() -> None:
    buffer = LiveBuffer(rate_hz=RATE, window_samples=WINDOW)
    buffer.add_picture(picture(5.0))
    assert buffer.take(0.0) is None
    buffer.expect_sound(hears=False)
    moment = buffer.take(0.0)
    assert moment is not None
    assert not moment.samples.any()


def test_memory_is_bounded_when_nobody_takes() -> None:
    buffer = LiveBuffer(rate_hz=RATE, window_samples=WINDOW)
    for step in range(500):
        buffer.add_picture(picture(step / 10))
        buffer.add_samples(step * 100, ramp(step * 100, 100))
    moment = buffer.take(0.0)
    assert moment is not None
    assert len(buffer._sound) == 6 * RATE
    assert len(buffer._pictures) < MOST_PICTURES
    assert moment.dropped + 1 + len(buffer._pictures) == 500


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), max_size=12), st.integers(0, 3000))
@settings(max_examples=60, deadline=None)
def test_any_pieces_of_sound_lie_where_their_numbers_say(pieces: list[tuple[int, int]], centre: int) -> None:
    buffer, line, position = LiveBuffer(rate_hz=RATE, window_samples=WINDOW), np.zeros(8000, np.float32), 0
    for gap, count in pieces:
        position += gap
        buffer.add_samples(position, ramp(position, count) + 1)
        line[position : position + count] = ramp(position, count) + 1
        position += count
    buffer.close()
    buffer.add_picture(picture(centre / RATE))
    moment = buffer.take(0.0)
    assert moment is not None
    padded = np.concatenate([np.zeros(WINDOW, np.float32), line])
    assert np.array_equal(moment.samples, padded[centre + WINDOW // 2 : centre + WINDOW // 2 + WINDOW])


def test_what_overlaps_is_heard_once() -> None:
    buffer = LiveBuffer(rate_hz=RATE, window_samples=WINDOW)
    buffer.add_samples(0, ramp(0, 300))
    buffer.add_samples(200, ramp(200, 300))
    buffer.add_samples(100, ramp(100, 50))
    buffer.add_picture(picture(0.25))
    moment = buffer.take(0.0)
    assert moment is not None
    assert np.array_equal(moment.samples, ramp(50, 400))


def test_taking_waits_and_wakes() -> None:
    buffer = LiveBuffer(rate_hz=RATE, window_samples=WINDOW)
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(buffer.take(20.0)))
    thread.start()
    buffer.add_picture(picture(0.2))
    buffer.add_samples(0, ramp(0, 400))
    thread.join(10)
    assert taken[0] is not None
    thread = threading.Thread(target=lambda: taken.append(buffer.take(20.0)))
    thread.start()
    buffer.close()
    thread.join(10)
    assert taken[1] is None
    assert buffer.ended


def listen(
    port: int | str, until: Callable[[list[LiveFinding], list[str]], bool]
) -> tuple[list[LiveFinding], list[str]]:
    """Findings and notices of a stream (of an address, or a port) until it has shown enough, or for half a minute."""
    findings: list[LiveFinding] = []
    notices: list[str] = []
    give_up = time.monotonic() + 30
    source = LiveSource(url=port if isinstance(port, str) else f"udp://127.0.0.1:{port}?overrun_nonfatal=1")
    system = SquareSystem()
    stop = lambda: until(findings, notices) or time.monotonic() > give_up  # noqa: E731
    for finding in localise_live(source, system, threshold=0.5, notice=notices.append, stop=stop):
        findings.append(finding)
    return findings, notices


def numbers_of(findings: list[LiveFinding]) -> list[int]:
    return [read_number(finding.picture.to_ndarray(format="rgb24")) for finding in findings]


def assert_in_step(findings: list[LiveFinding]) -> None:
    """What sounds is what is shown, away from the moments at which the tone starts and stops."""
    judged = 0
    for number, finding in zip(numbers_of(findings), findings, strict=True):
        if 4 <= number % FRAME_RATE <= FRAME_RATE - 4:
            assert finding.entry.sounding == loud_at(number), (number, finding.entry)
            judged += 1
    assert judged >= ENOUGH // 3


def test_a_stream_is_localised_in_step() -> None:
    port = free_udp_port()
    with LiveSender(f"udp://127.0.0.1:{port}?pkt_size=1316"):
        findings, _ = listen(port, lambda found, _: len(found) >= ENOUGH)
    assert len(findings) >= ENOUGH
    assert_in_step(findings[5:])  # the first ones reach back to before the stream was heard
    times = [finding.entry.time_seconds for finding in findings]
    assert times == sorted(set(times))
    # Pictures and clock agree: the stream's own distances are kept.
    numbers = np.unwrap(numbers_of(findings), period=NUMBERS)
    assert np.allclose(np.diff(times), np.diff(numbers) / FRAME_RATE, atol=0.01)
    half_window = SquareSystem().spec.spectrogram.clip_seconds / 2
    meter = LiveMeter()
    for finding in findings:
        meter.add(finding)
    assert meter.findings == len(findings)
    assert meter.latency_percentile(50) > half_window - 0.1


@pytest.mark.parametrize("kind", ["rtsp", "rtp", "http"])
def test_other_ways_of_streaming_are_as_good(kind: str) -> None:
    """RTSP as cameras speak it, with the packets in its own connection; RTP; HTTP without an end."""
    relayed = free_udp_port()
    with (
        StreamServer(kind, relayed, free_udp_port()) as server,
        LiveSender(f"udp://127.0.0.1:{relayed}?pkt_size=1316"),
    ):
        findings, notices = listen(server.url, lambda found, _: len(found) >= ENOUGH)
    assert len(findings) >= ENOUGH, notices
    assert_in_step(findings[5:])
    if kind == "rtsp":
        assert server.requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]


def test_a_camera_that_restarts_is_found_again() -> None:
    relayed, port = free_udp_port(), free_udp_port()
    findings: list[LiveFinding] = []
    notices: list[str] = []
    with LiveSender(f"udp://127.0.0.1:{relayed}?pkt_size=1316"):
        with StreamServer("rtsp", relayed, port) as server:
            give_up = time.monotonic() + 60
            live = localise_live(
                LiveSource(url=server.url),
                SquareSystem(),
                threshold=0.5,
                notice=notices.append,
                stop=lambda: time.monotonic() > give_up,
            )
            findings += itertools.islice(live, 8)
        with StreamServer("rtsp", relayed, port), contextlib.closing(live):  # type: ignore[type-var]
            for finding in live:
                findings.append(finding)
                if any("connected again" in notice for notice in notices) and len(findings) >= ENOUGH:
                    break
    assert any("connection lost" in notice for notice in notices), notices
    assert any("connected again" in notice for notice in notices), notices
    assert len(findings) >= ENOUGH


def test_lost_packets_cost_pictures_and_nothing_else() -> None:
    port, relayed = free_udp_port(), free_udp_port()
    with LossyRelay(relayed, port, drop_every=15) as relay, LiveSender(f"udp://127.0.0.1:{relayed}?pkt_size=1316"):
        findings, _ = listen(port, lambda found, _: len(found) >= ENOUGH and relay.dropped > 3)
    assert relay.dropped > 3
    assert len(findings) >= ENOUGH


def test_a_pause_and_a_restart_of_the_sender_are_survived() -> None:
    port = free_udp_port()
    url = f"udp://127.0.0.1:{port}?pkt_size=1316"
    findings: list[LiveFinding] = []
    notices: list[str] = []
    source, system = LiveSource(url=f"udp://127.0.0.1:{port}?overrun_nonfatal=1"), SquareSystem()
    done = threading.Event()

    def take() -> None:
        stop = done.is_set
        findings.extend(localise_live(source, system, threshold=0.5, notice=notices.append, stop=stop))

    def wait_for(more: int) -> None:
        wanted, give_up = len(findings_seen()) + more, time.monotonic() + 25
        while len(findings_seen()) < wanted and time.monotonic() < give_up:
            time.sleep(0.05)
        assert len(findings_seen()) >= wanted

    def findings_seen() -> list[LiveFinding]:
        return findings

    thread = threading.Thread(target=take, daemon=True)
    with LiveSender(url) as sender:
        thread.start()
        wait_for(5)
        sender.paused.set()
        time.sleep(2.8)  # longer than the reader waits for a packet
        sender.paused.clear()
        wait_for(8)
    with LiveSender(url):  # its clock starts anew
        wait_for(ENOUGH)
        done.set()
        thread.join(20)
    assert not thread.is_alive()
    assert any("connection lost" in notice for notice in notices)
    assert any("connected again" in notice for notice in notices)
    times = [finding.entry.time_seconds for finding in findings]
    assert times == sorted(set(times))
    assert_in_step(findings[-(ENOUGH - 8) :])


def test_an_address_without_a_stream_is_one_line() -> None:
    system = SquareSystem()
    with pytest.raises(AvolError, match=r"tcp://user:\*\*\*@127.0.0.1:9: cannot be opened \(.*\); check the address"):
        next(iter(localise_live(LiveSource(url="tcp://user:secret@127.0.0.1:9"), system)))
    with pytest.raises(AvolError, match=r"/dev/video77: cannot be opened"):
        next(iter(localise_live(LiveSource(url="/dev/video77"), system)))


def test_no_thread_outlives_the_run() -> None:
    port = free_udp_port()
    with LiveSender(f"udp://127.0.0.1:{port}?pkt_size=1316", sound=False):
        findings, _ = listen(port, lambda found, _: len(found) >= 3)
    assert len(findings) >= 3
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("avol-live")]
    assert not any(finding.entry.sounding for finding in findings)


def test_a_failure_while_reading_is_raised_where_findings_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the resizer broke")

    monkeypatch.setattr("avol.runtime.live_input.resize_frame", fail)
    port = free_udp_port()
    with LiveSender(f"udp://127.0.0.1:{port}?pkt_size=1316"), pytest.raises(RuntimeError, match="the resizer broke"):
        listen(port, lambda found, _: False)


def test_passwords_are_not_shown() -> None:
    assert shown("rtsp://me:pass@cam/1") == "rtsp://me:***@cam/1"
    assert shown("/dev/video0") == "/dev/video0"
