"""Everything a protocol asks of a model, each figure beside what it has to beat.

The rows of every table that asks for a place: the network with the sample's own sound, the same network with another
clip's sound and with silence, the centred disc, the whole frame, and the best that any map could do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avol.runtime.system import tells_where
from avol.train.metrics import Figure, peak_position, point_in_boxes
from avol.train.protocols.collect import Collected
from avol.train.protocols.detection_tables import extended_table, lit_table
from avol.train.protocols.model import OpenModel
from avol.train.protocols.pairing import foreign_partners
from avol.train.protocols.ranking import retrieval_table
from avol.train.protocols.rules import (
    ADAPTIVE,
    BEST,
    DISC,
    MEDIAN,
    WHOLE,
    Rule,
    Table,
    fixed_rule,
    iou_table,
    ious_under,
)
from avol.train.protocols.samples import AnnotatedSample
from avol.train.protocols.two_sources import two_source_tables

OWN, FOREIGN, SILENCE = "network", "network with another clip's sound", "network with silence"
NOISE_LEVEL = 0.1  # RMS of white noise, full scale 1
CIOU, AUC, POINTING = "cIoU@0.5", "AUC", "accuracy"

Maps = NDArray[np.float32]


@dataclass
class Measured:
    """Tables by title, and what could not be measured, a line each."""

    tables: dict[str, Table] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def measure_controls(samples: list[AnnotatedSample]) -> Measured:
    """The controls alone: they need neither media nor model."""
    measured = Measured()
    weights, groups = [sample.weights() for sample in samples], [sample.group for sample in samples]
    for rule, ious in ious_under([MEDIAN, ADAPTIVE], {}, weights).items():
        measured.tables[rule.name] = iou_table(ious, groups, (CIOU, AUC))
    measured.tables["pointing"] = _pointing({}, samples)
    return measured


def measure(collected: Collected, model: OpenModel, *, seed: int = 0) -> Measured:
    """All tables.

    Args:
        collected: samples with their media.
        model: under test.
        seed: of the partners whose sounds are lent, and of the noise.
    """
    measured, samples = Measured(), collected.samples
    weights, groups = [sample.weights() for sample in samples], [sample.group for sample in samples]
    rng = np.random.default_rng(seed)
    windows = collected.windows
    partners, note = foreign_partners(samples, rng)
    measured.notes += [note] * bool(note)
    maps = {OWN: model.maps(collected.frames, windows)}
    if partners is not None:
        maps[FOREIGN] = model.maps(collected.frames, windows[partners])
    maps[SILENCE] = model.maps(collected.frames, np.zeros_like(windows))
    if not tells_where(model.spec):
        # One cell covers the whole frame: as a map it would be measured as that control, and mean nothing.
        measured.notes.append(f"{model.spec.name} tells whether, not where: no figure of localisation is measured")
        measured.tables["own sound over others, by the score"] = _whether(maps, groups)
        _retrieval(measured, collected, model, windows, rng)
        return measured
    noise = np.clip(NOISE_LEVEL * rng.standard_normal(windows.shape[1]), -1, 1).astype(np.float32)
    noise_maps = model.maps(collected.frames, np.broadcast_to(noise, windows.shape))
    fixed = fixed_rule(model.spec.threshold)
    ious = ious_under([MEDIAN, ADAPTIVE, fixed], maps, weights)
    for rule, by_row in ious.items():
        measured.tables[rule.name] = iou_table(by_row, groups, (CIOU, AUC))
    measured.tables["pointing"] = _pointing(maps, samples)
    scores = {name: values.max(axis=(1, 2)) for name, values in maps.items()}
    absent = [scores[name] for name in (FOREIGN, SILENCE) if name in scores]
    for rule in (MEDIAN, fixed):
        title = f"extended: silent and off-screen sources, {rule.name}"
        measured.tables[title] = extended_table(ious[rule], scores[OWN], absent, groups, row=OWN)
    lit = {"own sound": maps[OWN], "silence": maps[SILENCE], "white noise": noise_maps}
    if FOREIGN in maps:
        lit["another clip's sound"] = maps[FOREIGN]
    measured.tables[f"area lit: share of the frame at {model.spec.threshold:g} or more"] = lit_table(
        lit, weights, model.spec.threshold, groups
    )
    _two_sources(measured, collected, model, partners, fixed)
    _retrieval(measured, collected, model, windows, rng)
    return measured


def _whether(maps: dict[str, Maps], groups: list[str]) -> Table:
    """Area under the ROC curve of the scores with the sample's own sound against those with others."""
    scores = {name: values.max(axis=(1, 2)) for name, values in maps.items()}
    return {name: {AUC: Figure.auc(scores[OWN], scores[name], groups)} for name in maps if name != OWN}


def _pointing(maps: dict[str, Maps], samples: list[AnnotatedSample]) -> Table:
    """Share of peaks in a box (Zhang et al., ECCV 2016, the pointing game, without its margin of 15 pixels).

    The disc points at the centre, the whole frame at a place drawn at random: its share is the area of the boxes.
    """
    groups = [sample.group for sample in samples]

    def share(hits: list[float]) -> dict[str, Figure]:
        return {POINTING: Figure.share(hits, groups)}

    def inside(points: list[tuple[float, float]]) -> list[float]:
        return [float(point_in_boxes(p, list(s.boxes))) for p, s in zip(points, samples, strict=True)]

    table = {name: share(inside([peak_position(own) for own in values])) for name, values in maps.items()}
    table[DISC] = share(inside([(0.5, 0.5)] * len(samples)))
    table[WHOLE] = share([float(np.mean(sample.weights() > 0)) for sample in samples])
    table[BEST] = share([float(bool(sample.boxes)) for sample in samples])
    return table


def _two_sources(
    measured: Measured, collected: Collected, model: OpenModel, partners: NDArray[np.int64] | None, fixed: Rule
) -> None:
    tables, note = two_source_tables(collected, model, partners, [MEDIAN, ADAPTIVE, fixed])
    measured.tables |= tables
    measured.notes += [note] * bool(note)


def _retrieval(
    measured: Measured, collected: Collected, model: OpenModel, windows: NDArray[np.int16], rng: np.random.Generator
) -> None:
    table, note = retrieval_table(collected.samples, collected.frames, windows, model, rng)
    if table:
        measured.tables["retrieval of other videos' items of the same class"] = table
    measured.notes += [note] * bool(note)
