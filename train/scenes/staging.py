"""Who is in a scene, where, and who sounds when."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from avol.train.scenes.drawing import Drawing, Points, rotation
from avol.train.scenes.objects import silent_object, sounding_object

SHAKES_PER_SECOND = 3.0
SHAKE_TURNS = 0.008
SHORTEST_TURN_SECONDS = 1.2


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The sounding object number ``actor`` sounds from ``start_seconds`` to ``end_seconds``."""

    actor: int
    start_seconds: float
    end_seconds: float

    def contains(self, time_seconds: float) -> bool:
        """Whether the object sounds at that time."""
        return self.start_seconds <= time_seconds < self.end_seconds


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where an object is: its middle and the radius that it fills, in picture heights, and its tilt, clockwise."""

    x: float
    y: float
    radius: float
    tilt_turns: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object of a scene and the smooth path around its place; ``kind`` is empty for a thing that never sounds."""

    kind: str
    drawing: Drawing
    place: Placement
    sway: float
    sway_hz: tuple[float, float]
    sway_phase: tuple[float, float]

    def placed(self, time_seconds: float, aspect: float, turn: Turn | None) -> Points:
        """The drawing's points at a time, in 0..1 of the picture; it trembles in its ``turn``."""
        waves = np.sin(math.tau * (np.array(self.sway_hz) * time_seconds + self.sway_phase))
        tilt = self.place.tilt_turns + 0.01 * float(waves[0])
        if turn is not None:
            ends = min(1.0, (turn.end_seconds - time_seconds) / 0.3)
            tilt += SHAKE_TURNS * ends * math.sin(math.tau * SHAKES_PER_SECOND * (time_seconds - turn.start_seconds))
        facing = np.array([-1.0 if self.place.mirrored else 1.0, 1.0])
        centre = np.array([self.place.x, self.place.y]) + self.sway * waves
        moved: Points = (self.drawing.points * facing @ rotation(tilt).T * self.place.radius + centre) / (aspect, 1.0)
        return moved


def cast(rng: np.random.Generator, kinds: tuple[str, ...], places: list[Placement]) -> list[Actor]:
    """One object of each kind at its place; things that never sound where the kind is empty."""
    return [
        Actor(
            kind=kind,
            drawing=sounding_object(kind, rng) if kind else silent_object(rng),
            place=place,
            sway=place.radius * rng.uniform(0.04, 0.16),
            sway_hz=(rng.uniform(0.1, 0.35), rng.uniform(0.1, 0.35)),
            sway_phase=(rng.uniform(), rng.uniform()),
        )
        for kind, place in zip(kinds, places, strict=True)
    ]


def spread(rng: np.random.Generator, radii: list[float], aspect: float) -> list[Placement]:
    """Random places inside the picture that hardly overlap; radii shrink where there is no room for them."""
    places: list[Placement] = []
    for wanted in radii:
        radius = min(wanted, 0.42, 0.42 * aspect)
        for _ in range(200):
            margin = 1.1 * radius
            x, y = rng.uniform(margin, aspect - margin), rng.uniform(margin, 1 - margin)
            if all(math.hypot(x - other.x, y - other.y) > 0.92 * (radius + other.radius) for other in places):
                break
            radius *= 0.985
        tilt, mirrored = float(rng.normal(0, 0.05)), bool(rng.random() < 0.5)
        places.append(Placement(x=x, y=y, radius=radius, tilt_turns=tilt, mirrored=mirrored))
    return places


def take_turns(rng: np.random.Generator, actors: int, duration_seconds: float) -> list[Turn]:
    """One object at a time, each as often as the others, with pauses between them."""
    turns: list[Turn] = []
    waiting: list[int] = []
    start_seconds = float(rng.uniform(0, 0.3))
    while True:
        waiting = waiting or [int(actor) for actor in rng.permutation(actors)]
        end_seconds = start_seconds + float(rng.uniform(SHORTEST_TURN_SECONDS, 2.0))
        if end_seconds > duration_seconds:
            return turns
        turns.append(Turn(actor=waiting.pop(), start_seconds=start_seconds, end_seconds=end_seconds))
        start_seconds = end_seconds + float(rng.uniform(0.05, 0.4))
