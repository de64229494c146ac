"""Sends a numbered picture and a tone as a live stream to 127.0.0.1, as a camera or an encoder would."""

from __future__ import annotations

import socket
import threading
import time

import av
import numpy as np

from media_factory import numbered_picture

FRAME_RATE, SAMPLE_RATE = 25, 48_000
NUMBERS = 200  # pictures until the numbers start again; eight seconds


def loud_at(number: int) -> bool:
    """Whether a tone sounds while this picture is shown: every other second."""
    return number // FRAME_RATE % 2 == 0


class LiveSender:
    """A context manager; sends from a thread until left. ``pause`` holds the stream back without closing it."""

    def __init__(self, url: str, *, sound: bool = True) -> None:
        self.paused, self._stop, self._url, self._sound = threading.Event(), threading.Event(), url, sound
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LiveSender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            self._send()
        except BaseException as error:
            self.error = error

    def _send(self) -> None:
        with av.open(self._url, "w", format="mpegts", options={"flush_packets": "1"}) as container:
            options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
            video = container.add_stream("libx264", rate=FRAME_RATE, options=options)
            video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
            audio = container.add_stream("mp2", rate=SAMPLE_RATE) if self._sound else None
            if audio is not None:
                audio.layout = "mono"
            started, number, samples_sent = time.monotonic(), 0, 0
            while not self._stop.is_set():
                if self.paused.is_set():
                    time.sleep(0.05)
                    started = time.monotonic() - number / FRAME_RATE
                    continue
                frame = av.VideoFrame.from_ndarray(numbered_picture(number % NUMBERS, 160, 120), format="rgb24")
                frame.pts = number
                container.mux(video.encode(frame))
                while audio is not None and samples_sent / SAMPLE_RATE < (number + 1) / FRAME_RATE:
                    container.mux(audio.encode(_tone(samples_sent)))
                    samples_sent += 1152
                number += 1
                self._stop.wait(max(0.0, started + number / FRAME_RATE - time.monotonic()))


def _tone(first: int) -> av.AudioFrame:
    index = np.arange(first, first + 1152)
    number = (index * FRAME_RATE // SAMPLE_RATE) % NUMBERS
    loud = number // FRAME_RATE % 2 == 0
    wave = np.where(loud, np.sin(index / SAMPLE_RATE * 2 * np.pi * 440) * 12_000, 0).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, first
    return frame


def free_udp_port() -> int:
    """A port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LossyRelay:
    """Passes datagrams from one port to another, but for every ``drop_every``-th one."""

    def __init__(self, from_port: int, to_port: int, *, drop_every: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", from_port))
        self._socket.settimeout(0.2)
        self._to, self._drop_every, self.dropped = ("127.0.0.1", to_port), drop_every, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LossyRelay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        count = 0
        while not self._stop.is_set():
            try:
                datagram = self._socket.recv(65_536)
            except TimeoutError:
                continue
            count += 1
            if count % self._drop_every:
                self._socket.sendto(datagram, self._to)
            else:
                self.dropped += 1
