"""Localise the sound of a stream as it comes: always the newest picture whose sound is there, never a queue."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import av
import numpy as np

from avol.runtime.finding import finding
from avol.runtime.live_buffer import LiveBuffer
from avol.runtime.live_input import LiveReader, LiveSource
from avol.runtime.system import System
from avol.runtime.timeline import TimelineFrame

WAITED_SECONDS = 0.5  # for a moment, before looking whether to stop
LATENCIES_KEPT = 600  # a minute at ten a second


@dataclass(frozen=True)
class LiveFinding:
    """What was found in one picture of a stream.

    Attributes:
        entry: as in a timeline; zero is the beginning of the run.
        picture: the decoded frame, upright.
        latency_seconds: from the picture's leaving the decoder until it was analysed, the half window of sound that it
            waited for included.
        dropped: pictures that were to be analysed since the last finding and were stale before their turn came.
    """

    entry: TimelineFrame
    picture: av.VideoFrame
    latency_seconds: float
    dropped: int


@dataclass
class LiveMeter:
    """What a live run has done: findings, drops, and the latest latencies."""

    findings: int = 0
    dropped: int = 0
    sounding: int = 0
    latencies_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    def add(self, finding: LiveFinding) -> None:
        """Count a finding."""
        self.findings += 1
        self.dropped += finding.dropped
        self.sounding += finding.entry.sounding
        self.latencies_seconds.append(finding.latency_seconds)

    def latency_percentile(self, percent: float) -> float:
        """Of the latest latencies, seconds; not a number if there are none."""
        return float(np.percentile(self.latencies_seconds, percent)) if self.latencies_seconds else float("nan")


def localise_live(
    source: LiveSource,
    system: System,
    *,
    rate_hz: float = 10.0,
    threshold: float | None = None,
    notice: Callable[[str], None] = lambda line: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[LiveFinding]:
    """Findings of a stream until ``stop`` says so; the stream may pause, break off and come back.

    Args:
        source: what to read.
        system: the model.
        rate_hz: analyses a second, at most; fewer where the machine is slower.
        threshold: score from which something sounds; None: the model's own.
        notice: called with a line when the connection comes or goes, from another thread.
        stop: asked at least twice a second.

    Raises:
        AvolError: there is nothing to read at that address.
    """
    spec = system.spec
    limit = spec.threshold if threshold is None else threshold
    buffer = LiveBuffer(rate_hz=spec.spectrogram.sample_rate_hz, window_samples=spec.spectrogram.clip_samples)
    reader = LiveReader(
        source,
        buffer,
        frame_height=spec.frame_height,
        frame_width=spec.frame_width,
        sample_rate_hz=spec.spectrogram.sample_rate_hz,
        rate_hz=rate_hz,
        notice=notice,
    )
    with reader:
        while not stop() and not buffer.ended:
            moment = buffer.take(WAITED_SECONDS)
            if moment is not None:
                track = system.open_track([moment.samples])  # of one window
                window = track.windows_at([spec.spectrogram.clip_samples / 2 / spec.spectrogram.sample_rate_hz])
                found = system.localise(moment.picture.pixels[None], window)
                map = None if found.map is None else found.map[0]
                entry = finding(moment.picture.time_seconds, float(found.score[0]), map, limit)
                latency_seconds = time.monotonic() - moment.picture.arrived_seconds
                yield LiveFinding(entry, moment.picture.picture, latency_seconds, moment.dropped)
        if reader.error is not None:
            raise reader.error
