"""A video: the overlay video, the timeline, and what sounds from when to when."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.apps.demo_app.limits import Limits, check_duration, check_video
from avol.runtime.errors import AvolError
from avol.runtime.pipeline import RunOptions, RunSummary, run_on_video
from avol.runtime.system import System
from avol.runtime.timeline import read_timeline

RATES_HZ = (0.5, 25.0)  # what the demo offers
JUMP = 0.3  # of the picture: peaks that are further apart are two places
FRAMES_TO_STAY = 3  # in a row at another place before that counts
REPORT_SECONDS = 0.2  # between two reports of progress


class CancelledError(Exception):
    """The user wants no result any more."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A stretch of time in which something at one place of the picture sounds.

    Attributes:
        start_seconds: time of its first analysed frame.
        end_seconds: time of the first frame after it that is silent or sounds elsewhere, or of the end.
        score: the highest of its scores.
        peak: x and y of the hottest cell where the score is highest, 0..1; None from systems that cannot tell where.
    """

    start_seconds: float
    end_seconds: float
    score: float
    peak: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """What :func:`analyse_video` has found.

    Attributes:
        video, timeline: the result files, MP4 and JSON.
        times_seconds, scores: of the analysed frames.
        threshold: score from which a frame counts as sounding.
        intervals: when something sounds.
        summary: of the run.
    """

    video: Path
    timeline: Path
    times_seconds: list[float]
    scores: list[float]
    threshold: float
    intervals: list[Interval]
    summary: RunSummary


def analyse_video(
    system: System,
    video: Path,
    folder: Path,
    *,
    rate_hz: float = 10.0,
    threshold: float | None = None,
    limits: Limits | None = None,
    progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ClipResult:
    """Run the model over a video.

    Args:
        system: the model.
        video: the input.
        folder: where the results go.
        rate_hz: analyses a second.
        threshold: score from which a frame counts as sounding; None: the model's own.
        limits: what is too much.
        progress: called with the share that is done, 0..1, a few times a second.
        cancelled: asked at every frame whether to stop.

    Raises:
        AvolError: the video is unusable or exceeds a limit.
        CancelledError: ``cancelled`` said so.
    """
    limits = limits or Limits()
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise AvolError(f"analyses a second: {rate_hz:g} is not between {RATES_HZ[0]:g} and {RATES_HZ[1]:g}.")
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise AvolError(f"threshold: {threshold:g} is not between 0 and 1.")
    duration_seconds = check_video(video, limits).duration_seconds
    reported = time.monotonic()

    def at_every_frame(done_seconds: float, total_seconds: float) -> None:
        nonlocal reported
        if cancelled():
            raise CancelledError
        # A file may say less than it holds.
        check_duration(video, done_seconds, max(limits.duration_seconds, duration_seconds))
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            progress(min(1.0, done_seconds / max(total_seconds, done_seconds, 1e-9)))

    options = RunOptions(
        video=video,
        timeline_out=folder / f"{video.stem}.avol.json",
        video_out=folder / f"{video.stem}.avol.mp4",
        rate_hz=rate_hz,
        threshold=threshold,
    )
    summary = run_on_video(options, system, at_every_frame)
    assert options.video_out is not None
    return _result(options.video_out, options.timeline_out, video, summary)


def _result(video_out: Path, timeline_out: Path, video: Path, summary: RunSummary) -> ClipResult:
    timeline = read_timeline(timeline_out)
    _forget_folder(timeline_out, video)
    frames, threshold = timeline["frames"], float(timeline["analysis"]["threshold"])
    return ClipResult(
        video=video_out,
        timeline=timeline_out,
        times_seconds=[frame["time_seconds"] for frame in frames],
        scores=[frame["score"] or 0.0 for frame in frames],
        threshold=threshold,
        intervals=sounding_intervals(frames, summary.duration_seconds),
        summary=summary,
    )


def _forget_folder(timeline: Path, video: Path) -> None:
    """Where the server keeps uploads is nobody's business: the timeline says the file's name alone."""
    text = timeline.read_text(encoding="utf-8")
    long, short = (json.dumps(str(path), ensure_ascii=False) for path in (video, video.name))
    timeline.write_text(text.replace(long, short, 1), encoding="utf-8")


def sounding_intervals(frames: Sequence[dict[str, Any]], duration_seconds: float) -> list[Interval]:
    """Neighbouring sounding frames of a timeline as intervals; when another place takes over, another one begins.

    Args:
        frames: entries of a timeline, in the order of time.
        duration_seconds: where the last interval ends at the latest.
    """
    intervals: list[Interval] = []
    for sounding, group in itertools.groupby(enumerate(frames), key=lambda numbered: bool(numbered[1]["sounding"])):
        if not sounding:
            continue
        entries = list(group)
        after = entries[-1][0] + 1
        last_seconds = entries[-1][1]["time_seconds"]
        end_seconds = frames[after]["time_seconds"] if after < len(frames) else max(duration_seconds, last_seconds)
        places = _places([frame for _, frame in entries])
        starts_seconds = [place[0]["time_seconds"] for place in places]
        ends_seconds = [*starts_seconds[1:], end_seconds]
        intervals += [_interval(*one) for one in zip(places, starts_seconds, ends_seconds, strict=True)]
    return intervals


def _places(frames: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Sounding frames in a row, parted where the peak jumps and stays; single frames far off do not count."""
    places, away = [frames[:1]], list[dict[str, Any]]()
    near = frames[0]["peak"]
    for frame in frames[1:]:
        peak = frame["peak"]
        if near is None or peak is None or math.dist(near, peak) < JUMP:
            places[-1] += [*away, frame]
            away, near = [], peak or near
            continue
        if away and math.dist(away[-1]["peak"], peak) >= JUMP:
            places[-1] += away
            away = []
        away.append(frame)
        if len(away) == FRAMES_TO_STAY:
            places.append(away)
            away, near = [], peak
    places[-1] += away
    return places


def _interval(frames: list[dict[str, Any]], start_seconds: float, end_seconds: float) -> Interval:
    best = max(frames, key=lambda frame: frame["score"])
    peak = None if best["peak"] is None else (best["peak"][0], best["peak"][1])
    return Interval(start_seconds=start_seconds, end_seconds=end_seconds, score=best["score"], peak=peak)
