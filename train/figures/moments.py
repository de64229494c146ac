"""Pictures and sounds for localisation panels: of synthetic scenes, which are ours to show, or of the user's clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import open_source
from avol.runtime.media.video import VideoReader
from avol.runtime.spec import ModelSpec
from avol.train.scenes.scene import Box, SyntheticScene

SHOWN_HEIGHT = 270  # pixels of a synthetic picture in a figure
SHOWN_ASPECT = 4 / 3
FIRST_SEED = 6_000_000  # of scenes that no run trains on
LONGEST_SECONDS = 600.0  # of a clip, in which its loudest moment is looked for
LOUDNESS_HOPS_PER_SECOND = 4


@dataclass(frozen=True)
class Moment:
    """A picture and the sound around it.

    Attributes:
        name: what it is, for the caption.
        picture: uint8 ``H x W x 3`` RGB, to show.
        frame: the same at the network's size.
        samples: float32 ``clip_samples``.
        box: where the source is, where that is known.
    """

    name: str
    picture: NDArray[np.uint8]
    frame: NDArray[np.uint8]
    samples: NDArray[np.float32]
    box: Box | None = None


def scene_moment(scene: SyntheticScene, spec: ModelSpec, turn: int, *, at_seconds: float | None = None) -> Moment:
    """The picture of a scene with the sound in the middle of one of its turns.

    Args:
        scene: what is seen and heard.
        spec: sizes of frame and window.
        turn: number of the turn that is heard.
        at_seconds: when it is seen; by default then as well.
    """
    heard = (scene.turns[turn].start_seconds + scene.turns[turn].end_seconds) / 2
    seen, sound = heard if at_seconds is None else at_seconds, spec.spectrogram
    samples = scene.samples(heard - sound.clip_seconds / 2, sound.clip_samples, sound.sample_rate_hz)
    actor = scene.turns[turn].actor
    picture = scene.frame(seen, SHOWN_HEIGHT, round(SHOWN_HEIGHT * scene.aspect))
    frame = scene.frame(seen, spec.frame_height, spec.frame_width)
    return Moment(scene.actors[actor].kind, picture, frame, samples, scene.boxes(seen)[actor][1])


def scene_of(seed: int, *kinds: str) -> SyntheticScene:
    """A scene of a common shape that holds these kinds, each of which has a turn long enough to be heard alone."""
    for attempt in range(100):
        scene = SyntheticScene(
            FIRST_SEED + 100 * seed + attempt, kinds=kinds, duration_seconds=4.0 * len(kinds), aspect=SHOWN_ASPECT
        )
        if all(longest_turn(scene, actor) is not None for actor in range(len(kinds))):
            return scene
    raise AssertionError("no scene in a hundred gives everybody a turn")


def longest_turn(scene: SyntheticScene, actor: int) -> int | None:
    """Number of the longest turn of an object; None if none lasts for 1.2 s."""
    lengths = {
        number: turn.end_seconds - turn.start_seconds
        for number, turn in enumerate(scene.turns)
        if turn.actor == actor and turn.end_seconds - turn.start_seconds >= 1.2
    }
    return max(lengths, key=lambda number: lengths[number]) if lengths else None


def clip_moment(path: Path, spec: ModelSpec) -> Moment:
    """The loudest second of a clip and the picture in its middle.

    Raises:
        AvolError: the clip cannot be read, or has no sound.
    """
    source = open_source(path)
    if source.audio_sample_rate is None:
        raise AvolError(f"{path}: has no sound to localise; name a clip with sound.")
    sound = spec.spectrogram
    chunks, count = [], 0
    with AudioReader(
        source.sound_path, sample_rate_hz=sound.sample_rate_hz, zero_seconds=source.audio_zero_seconds
    ) as reader:
        for chunk in reader:
            chunks.append(chunk)
            count += len(chunk)
            if count > LONGEST_SECONDS * sound.sample_rate_hz:
                break
    samples = np.concatenate([*chunks, np.zeros(sound.clip_samples, np.float32)])
    wanted = loudest_start(samples, sound.clip_samples, sound.sample_rate_hz // LOUDNESS_HOPS_PER_SECOND)
    wanted_seconds = (wanted + sound.clip_samples / 2) / sound.sample_rate_hz
    picture, frame = _picture_at(path, spec, wanted_seconds)
    return Moment(path.stem, picture, frame, samples[wanted : wanted + sound.clip_samples])


def loudest_start(samples: NDArray[np.float32], count: int, hop: int) -> int:
    """First sample of the window of ``count`` with the most energy, on a grid of ``hop`` samples."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(0, max(1, len(samples) - count + 1), hop)
    return int(starts[np.argmax(energy[np.minimum(starts + count, len(samples))] - energy[starts])])


def _picture_at(path: Path, spec: ModelSpec, time_seconds: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The last picture shown until a time, as it is and at the network's size."""
    source = open_source(path)
    with VideoReader(
        source, frame_height=spec.frame_height, frame_width=spec.frame_width, rate_hz=1000.0
    ) as reader:  # every frame
        chosen = None
        for shown in reader:
            if chosen is not None and shown.time_seconds > time_seconds:
                break
            chosen = shown
    assert chosen is not None
    assert chosen.pixels is not None
    height = min(source.height, SHOWN_HEIGHT * 2)
    picture = chosen.picture.reformat(width=round(height * source.width / source.height), height=height, format="rgb24")
    return np.asarray(picture.to_ndarray(), np.uint8), chosen.pixels


def beside(left: Moment, right: Moment, spec: ModelSpec) -> tuple[Moment, Moment]:
    """One picture that holds both, side by side; with the sound of the left one, and with that of the right one."""
    import cv2

    half = spec.frame_width // 2
    sizes = ((half, spec.frame_height), (spec.frame_width - half, spec.frame_height))
    frame = np.hstack(
        [cv2.resize(m.frame, size, interpolation=cv2.INTER_AREA) for m, size in zip((left, right), sizes, strict=True)]
    ).astype(np.uint8)
    shown = (round(SHOWN_HEIGHT * SHOWN_ASPECT / 2), SHOWN_HEIGHT)
    picture = np.hstack([cv2.resize(m.picture, shown, interpolation=cv2.INTER_AREA) for m in (left, right)]).astype(
        np.uint8
    )
    halves: tuple[Box, Box] = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))
    first, second = (Moment(m.name, picture, frame, m.samples, b) for m, b in zip((left, right), halves, strict=True))
    return first, second
