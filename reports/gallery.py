"""The gallery of failures: synthetic scenes of every class, and the ones on which a model does worst."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avol.runtime.spec import ModelSpec
from avol.train.evaluate import Localise
from avol.train.figures.moments import Moment, longest_turn, scene_moment, scene_of
from avol.train.figures.panels import COLUMNS, Row
from avol.train.metrics import peak_position
from avol.train.scenes.scene import KINDS

SCENES_PER_CLASS = 24
FIRST_SCENE = 200  # after those of the localisation panels


def failures(spec: ModelSpec, localise: Localise) -> tuple[list[Row], dict[str, tuple[int, int, int]]]:
    """The worst scenes of the classes that fail most.

    Args:
        spec: of the model.
        localise: of the model.

    Returns:
        A row per class, the worst first; and for every class how many scenes there were, in how many the peak lay
        beside the source, and in how many the score stayed below the threshold.
    """
    worst: dict[str, list[tuple[float, Moment]]] = {}
    counts: dict[str, tuple[int, int, int]] = {}
    for kind in KINDS:
        moments = _moments(kind, spec)
        maps = localise(np.stack([m.frame for m in moments]), np.stack([m.samples for m in moments]))
        beside = [_is_beside(moment, cells.astype(np.float32)) for moment, cells in zip(moments, maps, strict=True)]
        scores = maps.max(axis=(1, 2))
        missed = scores < spec.threshold
        counts[kind] = (len(moments), sum(beside), int(missed.sum()))
        # A sure mistake is worse than an unsure one, and a source that is missed is a mistake as well.
        badness = [
            float(score if wrong else spec.threshold - score) for score, wrong in zip(scores, beside, strict=True)
        ]
        wrongs = [wrong or lost for wrong, lost in zip(beside, missed.tolist(), strict=True)]
        order = sorted((i for i, wrong in enumerate(wrongs) if wrong), key=lambda i: -badness[i])
        worst[kind] = [(badness[i], moments[i]) for i in order[:COLUMNS]]
    ranked = sorted(KINDS, key=lambda kind: -(counts[kind][1] + counts[kind][2]))
    rows = [
        Row(f"{kind}: {counts[kind][1]} of {counts[kind][0]} peaks beside it, {counts[kind][2]} missed",
            tuple(moment for _, moment in worst[kind]))
        for kind in ranked
        if worst[kind]
    ]  # fmt: skip
    return rows, counts


def _moments(kind: str, spec: ModelSpec) -> list[Moment]:
    """Scenes of a class with an object of another one beside it, of which this one is heard."""
    found = []
    others = [other for other in KINDS if other != kind]
    for number in range(SCENES_PER_CLASS):
        scene = scene_of(FIRST_SCENE + 50 * KINDS.index(kind) + number, kind, others[number % len(others)])
        turn = longest_turn(scene, 0)
        assert turn is not None  # scene_of saw to it
        moment = scene_moment(scene, spec, turn)
        found.append(replace(moment, name=f"{kind} beside {others[number % len(others)]}"))
    return found


def _is_beside(moment: Moment, cells: np.ndarray) -> bool:
    assert moment.box is not None
    left, top, right, bottom = moment.box
    x, y = peak_position(cells)
    return not (left <= x <= right and top <= y <= bottom)
