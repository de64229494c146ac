"""Frames and sounds of many synthetic scenes, rendered once and drawn from in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.data.batch import Batch
from avol.train.data.located import cell_coverage
from avol.train.scenes.scene import KINDS, Box, SyntheticScene
from avol.train.scenes.staging import SHORTEST_TURN_SECONDS, Turn


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


@dataclass(frozen=True)
class SceneDraw:
    """Pictures and sounds of scenes.

    Attributes:
        frames: uint8 ``N x H x W x 3``.
        samples: float32 ``K x clip_samples``.
        matches: bool ``N x K``.
        heard: the kinds of the sounds.
        located: int64 ``N``, the sound that each picture was drawn for.
        sources: float32 ``N x GH x GW``, share of each cell that its source's box covers.
    """

    frames: NDArray[np.uint8]
    samples: NDArray[np.float32]
    matches: NDArray[np.bool_]
    heard: list[str]
    located: NDArray[np.int64]
    sources: NDArray[np.float32]


def scene_moments(seed: int, spec: ModelSpec) -> list[SceneMoment]:
    """One moment of every turn of one scene, in the middle of it."""
    scene, sound, moments = _scene(seed, spec.spectrogram.clip_seconds), spec.spectrogram, []
    for turn in scene.turns:
        if turn.end_seconds - turn.start_seconds < sound.clip_seconds:
            continue
        middle = (turn.start_seconds + turn.end_seconds) / 2
        samples = scene.samples(middle - sound.clip_seconds / 2, sound.clip_samples, sound.sample_rate_hz)
        kind, box, _ = scene.boxes(middle)[turn.actor]
        frame = scene.frame(middle, spec.frame_height, spec.frame_width)
        moments.append(SceneMoment(frame, samples, scene.kinds, kind, box))
    return moments


def _scene(seed: int, clip_seconds: float) -> SyntheticScene:
    """A scene whose turns last as long as a window; they are made longer only where no turn would be sure to."""
    scene = SyntheticScene(seed)
    if clip_seconds <= SHORTEST_TURN_SECONDS:
        return scene
    longer = clip_seconds / SHORTEST_TURN_SECONDS
    turns = [
        Turn(actor=turn.actor, start_seconds=turn.start_seconds * longer, end_seconds=turn.end_seconds * longer)
        for turn in scene.turns
    ]
    return SyntheticScene(seed, duration_seconds=scene.duration_seconds * longer, turns=turns)


class ScenePool:
    """Moments of ``scenes`` scenes; a draw gives pictures, and sounds of different kinds.

    Args:
        spec: sizes of frames and windows.
        scenes: how many to render.
        first_seed: of the scenes; keep those of training and measuring apart.
    """

    def __init__(self, spec: ModelSpec, *, scenes: int = 400, first_seed: int = 1_000_000) -> None:
        seeds = range(first_seed, first_seed + scenes)
        self.grid = spec.grid_height, spec.grid_width
        self.moments = [moment for seed in seeds for moment in scene_moments(seed, spec)]
        self.by_kind = {kind: [m for m in self.moments if m.sounding == kind] for kind in KINDS}

    def draw(self, rng: np.random.Generator, kinds: int, *, pictures_per_kind: int = 1) -> SceneDraw:
        """Sounds of ``kinds`` different kinds, pictures for each, and which picture shows which kind where."""
        known = [kind for kind, moments in self.by_kind.items() if moments]
        heard = [str(kind) for kind in rng.choice(known, size=min(kinds, len(known)), replace=False)]
        seen = [self._moment(rng, kind) for kind in heard for _ in range(pictures_per_kind)]
        matches = np.array([[kind in moment.kinds for kind in heard] for moment in seen])
        mirrored = [rng.random() < 0.5 for _ in seen]
        frames = np.stack([m.frame[:, ::-1] if flip else m.frame for m, flip in zip(seen, mirrored, strict=True)])
        covered = np.stack([cell_coverage([moment.box], *self.grid) for moment in seen])
        covered = np.where(np.array(mirrored)[:, None, None], covered[:, :, ::-1], covered)
        located = np.repeat(np.arange(len(heard)), pictures_per_kind)
        levels = 10 ** (rng.uniform(-20, 3, size=(len(heard), 1)) / 20)
        samples = np.stack([self._moment(rng, kind).samples for kind in heard]) * levels.astype(np.float32)
        return SceneDraw(frames, np.clip(samples, -1, 1), matches, heard, located, covered)

    def draw_batch(self, rng: np.random.Generator) -> Batch:
        """A batch of nothing but scenes: a sound of every kind, and three pictures for each."""
        drawn = self.draw(rng, len(KINDS), pictures_per_kind=3)
        of_class = np.array([[kind == name for name in KINDS] for kind in drawn.heard])
        seen = drawn.matches.astype(np.int32) @ of_class > 0
        return Batch(
            frames=drawn.frames,
            samples=drawn.samples,
            matches=drawn.matches,
            known=np.ones_like(drawn.matches),
            seen=(seen, np.ones_like(seen)),
            heard=(of_class, np.ones_like(of_class)),
            located=drawn.located,
            sources=drawn.sources,
        )

    def _moment(self, rng: np.random.Generator, kind: str) -> SceneMoment:
        return self.by_kind[kind][rng.integers(len(self.by_kind[kind]))]
