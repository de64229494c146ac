"""From a video to localisations: pictures and the sound around them, in step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import Source
from avol.runtime.media.video import VideoFrame, VideoReader
from avol.runtime.system import AvolNetSystem
from avol.runtime.track import RunningSpectrogram


@dataclass(frozen=True)
class LocalisedFrame:
    """A frame of the video and, if it was analysed, what was found in it.

    Attributes:
        frame: the decoded frame.
        score: calibrated probability that its sound comes from the picture; None for a frame not analysed.
        map: float32 ``GH x GW``; None for a frame not analysed, or from a system that cannot tell where.
    """

    frame: VideoFrame
    score: float | None = None
    map: NDArray[np.float32] | None = None


@dataclass
class FrameLocaliser:
    """Iterates over all frames of a source in order; analyses ``rate_hz`` of them a second.

    Attributes:
        source: what is run; without sound it is heard as silence.
        system: the model.
        rate_hz: analyses a second; more than the frame rate analyses every frame.
        warnings: one line each, complete when the iteration has ended.
    """

    source: Source
    system: AvolNetSystem
    rate_hz: float
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[LocalisedFrame]:
        """Run the model over the source, once; memory stays flat.

        Raises:
            AvolError: nothing decodes.
        """
        spec = self.system.spec
        with contextlib.ExitStack() as stack:
            chunks: Iterator[NDArray[np.float32]] = iter(())
            audio: AudioReader | None = None
            if self.source.audio_sample_rate is not None:
                audio = stack.enter_context(
                    AudioReader(
                        self.source.sound_path,
                        sample_rate_hz=spec.spectrogram.sample_rate_hz,
                        zero_seconds=self.source.audio_zero_seconds,
                    )
                )
                chunks = iter(audio)
            reader = stack.enter_context(
                VideoReader(
                    self.source, frame_height=spec.frame_height, frame_width=spec.frame_width, rate_hz=self.rate_hz
                )
            )
            track = RunningSpectrogram(chunks, spec.spectrogram, self.system.transform)
            for frame in reader:
                yield self._localise(frame, track)
            self.warnings += reader.warnings
            if audio is not None:
                self.warnings += audio.warnings

    def _localise(self, frame: VideoFrame, track: RunningSpectrogram) -> LocalisedFrame:
        if frame.pixels is None:
            return LocalisedFrame(frame)
        window = track.window_at(frame.time_seconds)
        found = self.system.localise(frame.pixels[None], window[None])
        return LocalisedFrame(frame, float(found.score[0]), None if found.map is None else found.map[0])
