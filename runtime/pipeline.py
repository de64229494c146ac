"""A whole run: a video in; an overlay video and a timeline out, both or neither."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.atomic import AtomicOutput, commit_all
from avol.runtime.errors import AvolError
from avol.runtime.localiser import FrameLocaliser, LocalisedFrame
from avol.runtime.media.source import Source, open_source
from avol.runtime.media.video import VideoFrame
from avol.runtime.media.writer import VideoWriter
from avol.runtime.overlay import Overlay
from avol.runtime.system import AvolNetSystem
from avol.runtime.timeline import VALUE_DECIMALS, TimelineFrame, TimelineWriter, peak_and_box

USUAL_TIME_BASE = Fraction(1, 90_000)  # seconds, of pictures that say nothing of their clock


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to do with one video.

    Attributes:
        video: the input.
        audio: another file whose sound is heard and copied instead of the video's own.
        timeline_out: where the timeline goes.
        video_out: where the overlay video goes; None: no video.
        rate_hz: analyses a second.
        threshold: score from which a frame counts as sounding; None: the model's own.
        maps: whether the timeline holds every cell.
    """

    video: Path
    timeline_out: Path
    audio: Path | None = None
    video_out: Path | None = None
    rate_hz: float = 10.0
    threshold: float | None = None
    maps: bool = False


@dataclass(kw_only=True)
class RunSummary:
    """What a run did.

    Attributes:
        duration_seconds: how much was run; the length that the input declares until the run has ended.
        frames, analysed, sounding: numbers of pictures.
        elapsed_seconds: how long it took.
        silence: why the whole video was heard as silent; empty if it was not.
        notes: a line for everything the user should know of the input.
    """

    duration_seconds: float = 0.0
    frames: int = 0
    analysed: int = 0
    sounding: int = 0
    elapsed_seconds: float = 0.0
    silence: str = ""
    notes: list[str] = field(default_factory=list)


def run_on_video(
    options: RunOptions, system: AvolNetSystem, progress: Callable[[float, float], None] | None = None
) -> RunSummary:
    """Localise the sound of a video and write the results; they appear under their names only when complete.

    Args:
        options: input and outputs.
        system: the model.
        progress: called with the seconds done and the seconds in all.

    Raises:
        AvolError: an input is unusable or an output cannot be written.
    """
    started = time.monotonic()
    source = open_source(options.video, options.audio)
    outputs = [path for path in (options.video_out, options.timeline_out) if path is not None]
    _refuse_overwriting_inputs(outputs, source)
    summary = RunSummary(duration_seconds=source.duration_seconds, notes=list(source.warnings))
    if source.audio_sample_rate is None:
        summary.silence = "sound that cannot be decoded" if source.warnings else "no audio stream"
        if not source.warnings:
            summary.notes.append(f"{options.video}: no audio stream: treated as silence.")
    with contextlib.ExitStack() as stack:
        atomic = [stack.enter_context(AtomicOutput(path)) for path in outputs]
        timeline = stack.enter_context(
            TimelineWriter(
                atomic[-1].temporary, maps=options.maps, shown_as=options.timeline_out, **_head(options, source, system)
            )
        )
        video = None
        if options.video_out is not None:
            video = stack.enter_context(_OverlayVideo(atomic[0].temporary, options.video_out, source))
        frames = FrameLocaliser(source, system, options.rate_hz)
        _run(frames, timeline, video, _threshold(options, system), summary, progress)
        timeline.close()
        if video is not None:
            summary.notes += video.close()
        # Sound that breaks off is noticed twice, by who analyses it and by who copies it.
        summary.notes = list(dict.fromkeys([*summary.notes, *frames.warnings]))
        commit_all(*atomic)
    summary.elapsed_seconds = time.monotonic() - started
    return summary


def _run(
    frames: FrameLocaliser,
    timeline: TimelineWriter,
    video: _OverlayVideo | None,
    threshold: float,
    summary: RunSummary,
    progress: Callable[[float, float], None] | None,
) -> None:
    """Every frame once through: localise, note, draw, encode."""
    ended_seconds = 0.0
    for localised in frames:
        summary.frames += 1
        entry = None
        if localised.score is not None:
            entry = _entry(localised, localised.score, threshold)
            timeline.write(entry)
            summary.analysed += 1
            summary.sounding += entry.sounding
        if video is not None:
            video.write(localised.frame, entry)
        if progress is not None:
            progress(localised.frame.time_seconds, summary.duration_seconds)
        ended_seconds = localised.frame.time_seconds + 1 / frames.source.frame_rate
    # A file cut off in its data is shorter than it declares.
    summary.duration_seconds = min(summary.duration_seconds, ended_seconds)


def _entry(localised: LocalisedFrame, score: float, threshold: float) -> TimelineFrame:
    """What the timeline says of an analysed frame, decided on the score as written: the file agrees with itself."""
    score = round(score, VALUE_DECIMALS)
    sounding, peak, box = score >= threshold, None, None
    if localised.map is not None:
        values = localised.map.astype(np.float64)
        highest = float(np.fmax.reduce(values, axis=None, initial=0.0))  # may be below the threshold by the rounding
        peak, box = peak_and_box(values, min(threshold, highest))
    return TimelineFrame(
        time_seconds=localised.frame.time_seconds,
        score=score,
        sounding=sounding,
        peak=peak,
        box=box if sounding else None,
        map=localised.map,
    )


class _OverlayVideo:
    """The overlay video, opened at the first frame, whose clock it takes over.

    Between analyses the heat stays; while nothing sounds there is none.
    """

    def __init__(self, path: Path, shown_as: Path, source: Source) -> None:
        self._path, self._shown_as, self._source = path, shown_as, source
        self._overlay = Overlay()
        self._heat: NDArray[np.float32] | None = None
        self._stack = contextlib.ExitStack()
        self._writer: VideoWriter | None = None

    def __enter__(self) -> _OverlayVideo:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def write(self, frame: VideoFrame, entry: TimelineFrame | None) -> None:
        """Draw the newest heat over a frame and encode it; ``entry`` is None for a frame not analysed."""
        if entry is not None:
            self._heat = entry.map if entry.sounding else None
        if self._writer is None:
            self._writer = self._stack.enter_context(self._open(frame))
        self._writer.write(self._overlay.draw(frame.picture, self._heat), frame.time_seconds)

    def close(self) -> list[str]:
        """Complete the file; gives what the user should know of it."""
        if self._writer is None:
            return []
        self._writer.close()
        return self._writer.notes

    def _open(self, first: VideoFrame) -> VideoWriter:
        source = self._source
        return VideoWriter(
            self._path,
            width=source.picture_width,
            height=source.picture_height,
            sample_aspect_ratio=source.sample_aspect_ratio,
            time_base=Fraction(first.picture.time_base or USUAL_TIME_BASE),
            frame_rate=Fraction(source.frame_rate).limit_denominator(1001),
            audio_path=source.sound_path if source.audio_sample_rate is not None else None,
            audio_zero_seconds=source.audio_zero_seconds,
            audio_ends_with_video=source.audio_path is not None,
            shown_as=self._shown_as,
        )


def _head(options: RunOptions, source: Source, system: AvolNetSystem) -> dict[str, dict[str, object]]:
    """The parts of the timeline that are known before the first frame."""
    spec, backend = system.spec, system.backend
    return {
        "source": {
            "path": str(source.path),
            "audio_path": None if source.audio_path is None else str(source.audio_path),
            "duration_seconds": round(source.duration_seconds, 6),
            "width": source.width,
            "height": source.height,
            "frame_rate": round(source.frame_rate, 6),
            "audio_sample_rate": source.audio_sample_rate,
        },
        "model": {
            "name": spec.name,
            "sha256": spec.weights_sha256,
            "system": spec.system,
            "backend": backend.name,
            "precision": backend.precision,
        },
        "analysis": {
            "rate_hz": options.rate_hz,
            "window_seconds": spec.spectrogram.clip_seconds,
            "threshold": _threshold(options, system),
        },
    }


def _threshold(options: RunOptions, system: AvolNetSystem) -> float:
    return system.spec.threshold if options.threshold is None else options.threshold


def _refuse_overwriting_inputs(outputs: list[Path], source: Source) -> None:
    inputs = {source.path.resolve(), source.sound_path.resolve()}
    for path in outputs:
        if path.resolve() in inputs:
            raise AvolError(f"{path}: is the input; choose another name for the result.")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise AvolError(
            f"{outputs[0]}: video and timeline would be the same file; choose another name for one of them."
        )
