"""A whole run: a video in; an overlay video and a timeline out, both or neither.

A thread decodes, the calling thread runs the model and writes the timeline, one more thread draws and one encodes. What
waits between them is bounded in frames.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from avol.runtime.atomic import AtomicOutput, commit_all
from avol.runtime.errors import AvolError
from avol.runtime.finding import finding
from avol.runtime.frame_localiser import FrameLocaliser, LocalisedFrame
from avol.runtime.media.source import Source, open_source, part_of
from avol.runtime.overlay_video import OverlayVideo, VideoOptions
from avol.runtime.results import refuse_foreign
from avol.runtime.spec import ModelSpec
from avol.runtime.strip import Strip
from avol.runtime.system import BackendInfo, System
from avol.runtime.timeline import TimelineFrame
from avol.runtime.timeline_formats import Timeline, open_timeline


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to do with one video.

    Attributes:
        video: the input.
        audio: another file whose sound is heard and copied instead of the video's own.
        timeline_out: where the timeline goes.
        video_out: where the overlay video goes; None: no video.
        video_to: a descriptor that the overlay video goes to in place of a file, as Matroska, while it is made.
        shown_as: what the timeline calls the video; empty: its path.
        rate_hz: analyses a second.
        threshold: score from which a frame counts as sounding; None: the model's own.
        maps: whether the timeline holds every cell.
        format: of the timeline, one of :data:`avol.runtime.timeline_formats.FORMATS`.
        look: of the overlay video.
        start_seconds, end_seconds: the part of the video that is run; None: up to its end. Times of the results count
            from the part's beginning.
    """

    video: Path
    timeline_out: Path
    audio: Path | None = None
    video_out: Path | None = None
    video_to: int | None = None
    shown_as: str = ""
    rate_hz: float = 10.0
    threshold: float | None = None
    maps: bool = False
    format: str = "json"
    look: VideoOptions = field(default_factory=VideoOptions)
    start_seconds: float = 0.0
    end_seconds: float | None = None


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
    options: RunOptions, system: System, progress: Callable[[float, float], None] | None = None
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
    source = part_of(open_source(options.video, options.audio), options.start_seconds, options.end_seconds)
    outputs = [path for path in (options.video_out, options.timeline_out) if path is not None]
    _refuse_overwriting_inputs(outputs, source)
    refuse_foreign(outputs)
    summary = RunSummary(duration_seconds=source.duration_seconds, notes=list(source.warnings))
    if source.audio_sample_rate is None:
        summary.silence = "sound that cannot be decoded" if source.warnings else "no audio stream"
        if not source.warnings:
            summary.notes.append(f"{options.video}: no audio stream: treated as silence.")
    with contextlib.ExitStack() as stack:
        atomic = [stack.enter_context(AtomicOutput(path)) for path in outputs]
        timeline = stack.enter_context(
            open_timeline(
                atomic[-1].temporary,
                options.format,
                maps=options.maps,
                shown_as=options.timeline_out,
                **_head(options, source, system),
            )
        )
        strip, video = None, None
        if options.video_out is not None or options.video_to is not None:
            if options.look.strip:
                rate_hz = system.spec.spectrogram.sample_rate_hz
                strip = Strip(threshold=_threshold(options, system), sample_rate_hz=rate_hz)
            target: Path | int | None = options.video_to if options.video_out is None else atomic[0].temporary
            assert target is not None
            video = OverlayVideo(target, options.video_out, source, options.look, strip)
            stack.enter_context(video)
        listener = None if strip is None else strip.add_samples
        frames = FrameLocaliser(source, system, options.rate_hz, pictures=video is not None, listener=listener)
        _run(frames, _Results(timeline, video, strip), _threshold(options, system), summary, progress)
        if summary.frames == 0:
            raise AvolError(f"{options.video}: shows no picture from --start on; choose an earlier one.")
        timeline.close(None if frames.cut_off_seconds is None else summary.duration_seconds)
        if video is not None:
            video.close()
            summary.notes += video.notes
        # Sound that breaks off is noticed twice, by who analyses it and by who copies it.
        summary.notes = list(dict.fromkeys([*summary.notes, *frames.warnings]))
        commit_all(*atomic)
    summary.elapsed_seconds = time.monotonic() - started
    return summary


@dataclass(frozen=True)
class _Results:
    """Where what was found goes."""

    timeline: Timeline
    video: OverlayVideo | None
    strip: Strip | None

    def add(self, localised: LocalisedFrame, entry: TimelineFrame | None) -> None:
        """A frame, with its entry if it was analysed."""
        if entry is not None:
            self.timeline.write(entry)
            if self.strip is not None:
                self.strip.add_score(entry.time_seconds, entry.score, sounding=entry.sounding)
        if self.video is not None:
            assert localised.picture is not None
            self.video.write(localised.time_seconds, localised.picture, entry)


def _run(
    frames: FrameLocaliser,
    results: _Results,
    threshold: float,
    summary: RunSummary,
    progress: Callable[[float, float], None] | None,
) -> None:
    """Every frame once through: localise and note; drawing and encoding follow in threads of their own."""
    ended_seconds = 0.0
    # Closed, not left to the garbage collector: no thread decodes on when something else has failed.
    with contextlib.closing(iter(frames)) as all_localised:
        for localised in all_localised:
            summary.frames += 1
            entry = None
            if localised.score is not None:
                entry = finding(localised.time_seconds, localised.score, localised.map, threshold)
                summary.analysed += 1
                summary.sounding += entry.sounding
            results.add(localised, entry)
            if progress is not None:
                progress(localised.time_seconds, summary.duration_seconds)
            ended_seconds = localised.time_seconds + 1 / frames.source.frame_rate
    # A file cut off in its data is shorter than it declares.
    summary.duration_seconds = min(summary.duration_seconds, ended_seconds)


def _head(options: RunOptions, source: Source, system: System) -> dict[str, dict[str, object]]:
    """The parts of the timeline that are known before the first frame."""
    return {
        "source": {
            "path": options.shown_as or str(source.path),
            "audio_path": None if source.audio_path is None else str(source.audio_path),
            "duration_seconds": round(source.duration_seconds, 6),
            "width": source.width,
            "height": source.height,
            "frame_rate": round(source.frame_rate, 6),
            "audio_sample_rate": source.audio_sample_rate,
            **({"start_seconds": source.start_seconds} if source.start_seconds else {}),
        },
        **head_of_model(system.spec, system.backend, rate_hz=options.rate_hz, threshold=_threshold(options, system)),
    }


def head_of_model(
    spec: ModelSpec, backend: BackendInfo, *, rate_hz: float, threshold: float
) -> dict[str, dict[str, object]]:
    """The parts of a timeline's head that say what analysed, and how."""
    return {
        "model": {
            "name": spec.name,
            "sha256": spec.weights_sha256,
            "system": spec.system,
            "backend": backend.name,
            "precision": backend.precision,
        },
        "analysis": {
            "rate_hz": rate_hz,
            "window_seconds": spec.spectrogram.clip_seconds,
            "threshold": threshold,
        },
    }


def _threshold(options: RunOptions, system: System) -> float:
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
