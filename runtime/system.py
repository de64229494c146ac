"""How frames and sound meet: the part of the runtime that knows the family of the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import Backend, MapsAndScores
from avol.runtime.errors import AvolError
from avol.runtime.running import RunningEmbeddings
from avol.runtime.spec import ModelSpec
from avol.runtime.stage_times import timed
from avol.runtime.track import RunningSamples, RunningSpectrogram, Track

# Names in the spec. What they have in common: two towers, and a head in which a grid and a vector meet.
SYSTEMS = ("avol-net", "ave-net", "l3-net", "ez-vsl", "ez-vsl-guided", "attention", "sound-net")
SYSTEMS_WITHOUT_MAP = ("ave-net", "l3-net")  # their grid is one cell: they tell whether, not where


def tells_where(spec: ModelSpec) -> bool:
    """Whether a model's maps say where; a map of one cell says only whether, and counts as found everywhere."""
    return spec.system not in SYSTEMS_WITHOUT_MAP and spec.grid_height * spec.grid_width > 1


@dataclass(frozen=True)
class Localisation:
    """Where and how surely the sound of a window comes from its frame.

    Attributes:
        score: float32 ``N``, calibrated probability that frame and sound belong together.
        map: float32 ``N x GH x GW``, the same for every cell; None from systems that cannot tell where.
    """

    score: NDArray[np.float32]
    map: NDArray[np.float32] | None


class BackendInfo(Protocol):
    """What a timeline says of what computed it."""

    @property
    def name(self) -> str:
        """Engine and device, e.g. ``onnxruntime-cpu``."""

    @property
    def precision(self) -> str:
        """What the towers are computed in, e.g. ``fp32``."""


class System(Protocol):
    """What runs over media: any family of models. One thread at a time calls it."""

    @property
    def spec(self) -> ModelSpec:
        """Of the model."""

    @property
    def backend(self) -> BackendInfo:
        """What computes."""

    def open_track(self, chunks: Iterable[NDArray[np.float32]], *, rate_hz: float | None = None) -> Track:
        """The windows of a track: consecutive mono samples at the spec's rate, sample 0 at time zero.

        Where it is known that ``rate_hz`` windows a second will be asked for, a window may be another one nearby.
        """

    def localise(self, frames: NDArray[np.uint8], windows: Any) -> Localisation:  # noqa: ANN401 (of its own tracks)
        """Localise the sound of each window, as a track gave them, in the frame beside it."""


FEWEST_OVERLAPPING = 2  # windows within the length of one for which the tower runs over the track


class AvolNetSystem:
    """AVOL-net and its kin: two towers, and a head that only the exported graph knows.

    Raises:
        AvolError: the model is of another system.
    """

    def __init__(self, backend: Backend) -> None:
        if backend.spec.system not in SYSTEMS:
            raise AvolError(
                f"{backend.folder}: the model is of the system {backend.spec.system!r}, this version of avol runs "
                f"{', '.join(map(repr, SYSTEMS))}; choose another model or install a newer avol."
            )
        self.backend, self.spec = backend, backend.spec

    def open_track(self, chunks: Iterable[NDArray[np.float32]], *, rate_hz: float | None = None) -> Track:
        """The windows of a track: of its samples for a GPU, of its running spectrogram, or their embeddings.

        Args:
            chunks: consecutive float32 mono samples at the spec's rate; sample 0 is time zero.
            rate_hz: windows a second that will be asked for. If they overlap enough and the audio tower can, it runs
                over the track, and a window is the nearest on its grid. None: every window as it is asked for.
        """
        sound, grid = self.spec.spectrogram, self.backend.running
        if self.backend.on_device:
            # It computes a window again sooner than it fetches columns or an embedding of it.
            return RunningSamples(chunks, sound)
        if grid is None or rate_hz is None or rate_hz * sound.clip_seconds < FEWEST_OVERLAPPING:
            return RunningSpectrogram(chunks, sound, self.transform)
        return RunningEmbeddings(chunks, sound, transform=self.transform, grid=grid, embed=self._embed)

    def transform(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns of a stretch of the track: float32 ``S`` to ``rows x T``."""
        with timed("spectrogram"):
            (columns,) = self.backend.infer("spectrogram", samples=samples[None])
        track: NDArray[np.float32] = columns[0]
        return track

    def localise_samples(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps of frames with a window of samples each: float32 ``N x clip_samples`` to ``N x GH x GW``.

        On a GPU this moves least: pixels and samples go up, maps come down.
        """
        maps, _ = self.backend.localise_samples(frames, samples)
        return maps

    def localise(self, frames: NDArray[np.uint8], windows: NDArray[np.float32]) -> Localisation:
        """Localise each window's sound in the frame beside it.

        Args:
            frames: uint8 ``N x H x W x 3`` RGB.
            windows: of a track of this system: float32 ``N x rows x columns``, or embeddings ``N x E``; for a GPU
                ``N x clip_samples``.
        """
        with timed("towers"):
            if self.backend.on_device:
                maps, scores = self.backend.localise_samples(frames, windows)
            else:
                maps, scores = self._localise(frames, windows)
        return Localisation(scores, None if self.spec.system in SYSTEMS_WITHOUT_MAP else maps)

    def _localise(self, frames: NDArray[np.uint8], windows: NDArray[np.float32]) -> MapsAndScores:
        heard = {"vector": windows} if windows.ndim == 2 else {"columns": windows}
        roles = ("frame", "head") if "vector" in heard else ("frame", "audio", "head")
        found = self.backend.compute(roles, {"frames": frames, **heard}, ("map", "score"))
        return found["map"], found["score"]

    def _embed(self, stretch: NDArray[np.float32]) -> NDArray[np.float32]:
        with timed("towers"):
            (vectors,) = self.backend.infer("audio", columns=stretch)
        return vectors
