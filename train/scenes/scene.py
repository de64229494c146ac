"""A synthetic world with known answers: drawn objects that move and take turns to sound, with exact boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.train.scenes.backgrounds import BACKGROUNDS, paint_background
from avol.train.scenes.objects import DRAWINGS
from avol.train.scenes.staging import Actor, Placement, Turn, cast, spread, take_turns
from avol.train.scenes.voices import noise, play

KINDS = tuple(DRAWINGS)
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in 0..1 of the picture, x right, y down
Sound = NDArray[np.float32]


class SyntheticScene:
    """Drawn objects of different kinds that move on smooth paths and sound in turn. A pure function of its arguments.

    Args:
        seed: everything that is not given below follows from it.
        kinds: the kinds of the objects that can sound, from :data:`KINDS`; by default one to four different ones.
        duration_seconds: of the sound; after it and before zero all is silent.
        aspect: width to height of the world; a frame of other proportions is squashed, as the runtime does.
        turns: who sounds when; by default one object at a time.
        places: of the objects that can sound.
        background: one of :data:`~avol.train.scenes.backgrounds.BACKGROUNDS`, drawn at random if not given.
        silent_things: how many things there are that never sound.
    """

    def __init__(
        self,
        seed: int,
        *,
        kinds: tuple[str, ...] | None = None,
        duration_seconds: float = 6.0,
        aspect: float | None = None,
        turns: list[Turn] | None = None,
        places: list[Placement] | None = None,
        background: str | None = None,
        silent_things: int | None = None,
    ) -> None:
        rng = np.random.default_rng([seed, 0])
        drawn_kinds = tuple(str(kind) for kind in rng.permutation(KINDS)[: int(rng.integers(1, 5))])
        drawn_aspect, drawn_background = float(np.exp(rng.uniform(-0.57, 0.57))), str(rng.choice(BACKGROUNDS))
        drawn_things = int(rng.integers(0, 4))
        self.seed, self.duration_seconds = seed, duration_seconds
        self.kinds = drawn_kinds if kinds is None else kinds
        self.aspect = drawn_aspect if aspect is None else aspect  # 9:16 to 16:9
        self.background = drawn_background if background is None else background
        things = drawn_things if silent_things is None else silent_things
        radii = list(rng.uniform(0.75, 1.1, len(self.kinds)) * np.sqrt(self.aspect) * _typical_radius(len(self.kinds)))
        drawn_places = spread(rng, radii + list(rng.uniform(0.05, 0.16, things)), self.aspect)
        self.actors = cast(rng, self.kinds, drawn_places[: len(self.kinds)] if places is None else places)
        self.things = cast(rng, ("",) * things, drawn_places[len(self.kinds) :])
        self.turns = take_turns(rng, len(self.kinds), duration_seconds) if turns is None else turns
        self.decibels = rng.uniform(-26, -14, len(self.turns))
        self.noise_decibels = float(rng.uniform(-75, -50))
        self._painted: NDArray[np.uint8] | None = None
        self._sounds: dict[tuple[int, int], Sound] = {}

    def frame(self, time_seconds: float, height: int, width: int) -> NDArray[np.uint8]:
        """The picture at a time: uint8 ``height x width x 3`` RGB."""
        if self._painted is None or self._painted.shape[:2] != (height, width):
            self._painted = paint_background(self.background, (self.seed, 1), height, width)
        picture = self._painted.copy()
        for thing in self.things:
            thing.drawing.paint(picture, thing.placed(time_seconds, self.aspect, None))
        for number, actor in enumerate(self.actors):
            actor.drawing.paint(picture, actor.placed(time_seconds, self.aspect, self._turn(number, time_seconds)))
        return picture

    def samples(self, start_seconds: float, count: int, sample_rate_hz: int) -> Sound:
        """``count`` samples from the one nearest to ``start_seconds``: float32 in -1..1, silence outside the scene."""
        first = round(start_seconds * sample_rate_hz)
        mixed = np.zeros(count, np.float32)
        starts = [0] + [round(turn.start_seconds * sample_rate_hz) for turn in self.turns]
        ends = [round(self.duration_seconds * sample_rate_hz)]
        ends += [round(turn.end_seconds * sample_rate_hz) for turn in self.turns]
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            low, high = max(first, start), min(first + count, end)
            if low < high:
                sound = self._sound(number, (end - start) / sample_rate_hz, sample_rate_hz)
                mixed[low - first : high - first] += sound[low - start : high - start]
        return np.clip(mixed, -1, 1)

    def boxes(self, time_seconds: float) -> list[tuple[str, Box, bool]]:
        """Kind, box and whether it sounds, of every object that can sound, in the order of ``kinds``."""
        found = []
        for number, actor in enumerate(self.actors):
            turn = self._turn(number, time_seconds)
            points = np.clip(actor.placed(time_seconds, self.aspect, turn), 0, 1)
            (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
            found.append((actor.kind, (x0, y0, x1, y1), turn is not None))
        return found

    def _turn(self, actor: int, time_seconds: float) -> Turn | None:
        """The turn in which the object sounds at that time, if it does."""
        return next((turn for turn in self.turns if turn.actor == actor and turn.contains(time_seconds)), None)

    def _sound(self, number: int, seconds: float, rate_hz: int) -> Sound:
        """The scene's faint noise for number 0, then the sound of each turn; kept for the next call."""
        key = (number, rate_hz)
        if key not in self._sounds:
            rng = np.random.default_rng([self.seed, 2, number])
            decibels = self.noise_decibels if number == 0 else float(self.decibels[number - 1])
            kind = "" if number == 0 else self.actors[self.turns[number - 1].actor].kind
            sound = play(kind, rng, seconds, rate_hz) if kind else noise(rng, seconds, rate_hz)
            self._sounds[key] = sound * np.float32(10 ** (decibels / 20))
        return self._sounds[key]


def _typical_radius(objects: int) -> float:
    """In square roots of the picture's area: a lone object fills much of it, four share it."""
    return {1: 0.32, 2: 0.25, 3: 0.21}.get(objects, 0.19)


__all__ = ["KINDS", "Actor", "Box", "Placement", "SyntheticScene", "Turn"]
