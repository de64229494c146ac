"""Frames and sounds of many synthetic scenes, rendered once and drawn from in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.data.batch import Batch
from avol.train.scenes.scene import KINDS, Box, SyntheticScene


@dataclass(frozen=True)
class SceneMoment:
    """A moment at which one object of a scene sounds.

    Attributes:
        frame: uint8 ``H x W x 3``.
        samples: float32 ``clip_samples`` centred on the moment.
        kinds: of all objects in the picture.
        sounding: kind of the one that sounds for all of the window.
        box: where it is.
    """

    frame: NDArray[np.uint8]
    samples: NDArray[np.float32]
    kinds: tuple[str, ...]
    sounding: str
    box: Box


def scene_moments(seed: int, spec: ModelSpec) -> list[SceneMoment]:
    """One moment of every turn of one scene, in the middle of it."""
    scene, sound, moments = SyntheticScene(seed), spec.spectrogram, []
    for turn in scene.turns:
        if turn.end_seconds - turn.start_seconds < sound.clip_seconds:
            continue
        middle = (turn.start_seconds + turn.end_seconds) / 2
        samples = scene.samples(middle - sound.clip_seconds / 2, sound.clip_samples, sound.sample_rate_hz)
        kind, box, _ = scene.boxes(middle)[turn.actor]
        frame = scene.frame(middle, spec.frame_height, spec.frame_width)
        moments.append(SceneMoment(frame, samples, scene.kinds, kind, box))
    return moments


class ScenePool:
    """Moments of ``scenes`` scenes; a draw gives pictures, and sounds of different kinds.

    Args:
        spec: sizes of frames and windows.
        scenes: how many to render.
        first_seed: of the scenes; keep those of training and measuring apart.
    """

    def __init__(self, spec: ModelSpec, *, scenes: int = 400, first_seed: int = 1_000_000) -> None:
        seeds = range(first_seed, first_seed + scenes)
        self.moments = [moment for seed in seeds for moment in scene_moments(seed, spec)]
        self.by_kind = {kind: [m for m in self.moments if m.sounding == kind] for kind in KINDS}

    def draw(
        self, rng: np.random.Generator, kinds: int, *, pictures_per_kind: int = 1
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_], list[str]]:
        """Sounds of ``kinds`` different kinds, pictures for each, and which picture shows which kind.

        Returns:
            Frames uint8 ``N x H x W x 3`` with ``N = kinds * pictures_per_kind``, samples float32 ``K x clip_samples``,
            matches bool ``N x K``, and the kinds of the sounds.
        """
        known = [kind for kind, moments in self.by_kind.items() if moments]
        heard = [str(kind) for kind in rng.choice(known, size=min(kinds, len(known)), replace=False)]
        seen = [self._moment(rng, kind) for kind in heard for _ in range(pictures_per_kind)]
        matches = np.array([[kind in moment.kinds for kind in heard] for moment in seen])
        frames = np.stack([moment.frame[:, ::-1] if rng.random() < 0.5 else moment.frame for moment in seen])
        levels = 10 ** (rng.uniform(-20, 3, size=(len(heard), 1)) / 20)
        samples = np.stack([self._moment(rng, kind).samples for kind in heard]) * levels.astype(np.float32)
        return frames, np.clip(samples, -1, 1), matches, heard

    def draw_batch(self, rng: np.random.Generator) -> Batch:
        """A batch of nothing but scenes: a sound of every kind, and three pictures for each."""
        frames, samples, matches, heard = self.draw(rng, len(KINDS), pictures_per_kind=3)
        of_class = np.array([[kind == name for name in KINDS] for kind in heard])
        seen = matches.astype(np.int32) @ of_class > 0
        return Batch(
            frames=frames,
            samples=samples,
            matches=matches,
            known=np.ones_like(matches),
            seen=(seen, np.ones_like(seen)),
            heard=(of_class, np.ones_like(of_class)),
        )

    def _moment(self, rng: np.random.Generator, kind: str) -> SceneMoment:
        return self.by_kind[kind][rng.integers(len(self.by_kind[kind]))]
