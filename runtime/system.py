"""How frames and sound meet: the part of the runtime that knows the family of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import Backend
from avol.runtime.errors import AvolError

SYSTEM = "avol-net"  # the name in the spec


@dataclass(frozen=True)
class Localisation:
    """Where and how surely the sound of a window comes from its frame.

    Attributes:
        score: float32 ``N``, calibrated probability that frame and sound belong together.
        map: float32 ``N x GH x GW``, the same for every cell; None from systems that cannot tell where.
    """

    score: NDArray[np.float32]
    map: NDArray[np.float32] | None


class AvolNetSystem:
    """AVOL-net: two towers and the scalar product of their vectors.

    Raises:
        AvolError: the model is of another system.
    """

    def __init__(self, backend: Backend) -> None:
        if backend.spec.system != SYSTEM:
            raise AvolError(
                f"{backend.folder}: the model is of the system {backend.spec.system!r}, this version of avol runs "
                f"{SYSTEM!r}; choose another model or install a newer avol."
            )
        self.backend, self.spec = backend, backend.spec

    def transform(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns of a stretch of the track: float32 ``S`` to ``rows x T``."""
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
            windows: float32 ``N x rows x columns``.
        """
        maps, scores = self.backend.localise(frames, windows)
        return Localisation(scores, maps)
