"""Interactive localisation: two sources in one picture, asked for one after the other; both have to be found.

IIoU is the share of pictures in which both maps reach an IoU of one half with their own source's boxes, IAUC the area
under the curve of that share over thresholds.

Source: Senocak et al., ICCV 2023, section 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avol.train.metrics import box_weights
from avol.train.protocols.collect import Collected
from avol.train.protocols.model import OpenModel
from avol.train.protocols.rules import Rule, Table, iou_table, ious_under

IIOU, IAUC = "IIoU", "IAUC"
NETWORK, EXCHANGED, SILENCE = "network", "network with the sounds exchanged", "network with silence"


@dataclass(frozen=True)
class _Pictures:
    """Pictures with two sources: ``P`` frames, and per source its windows ``P x clip_samples`` and its weights."""

    frames: NDArray[np.uint8]
    windows: tuple[NDArray[np.int16], NDArray[np.int16]]
    weights: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]
    groups: list[str]


def two_source_tables(
    collected: Collected, model: OpenModel, partners: NDArray[np.int64] | None, rules: Sequence[Rule]
) -> tuple[dict[str, Table], str]:
    """A table per rule; and a note where there is nothing to measure.

    Pictures whose annotations give two sources a sound each are taken as they are. Where there are none, two samples
    with one source are put side by side, each squashed to half of the width: a picture of our own making, whose figures
    cannot be held against published ones.
    """
    annotated = sorted(collected.second_windows)
    if annotated:
        pictures, kind = _annotated(collected, annotated), "annotated pictures"
    else:
        single = all(len(sample.sources) == 1 for sample in collected.samples)
        if not single:
            return {}, "two sources: not measured, both are heard in one sound"
        if partners is None:
            return {}, "two sources: not measured, all samples are of one video"
        pictures, kind = _side_by_side(collected, partners), "two samples side by side"
    maps = _maps(pictures, model)
    tables = {}
    first, second = (
        ious_under(rules, {name: values[source] for name, values in maps.items()}, pictures.weights[source])
        for source in (0, 1)
    )
    for rule in rules:
        # A picture counts by the worse of its two.
        worse = {name: np.minimum(first[rule][name], second[rule][name]) for name in first[rule]}
        tables[f"two sources, {kind}, {rule.name}"] = iou_table(worse, pictures.groups, (IIOU, IAUC))
    return tables, ""


def _maps(pictures: _Pictures, model: OpenModel) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    one, other = (model.maps(pictures.frames, windows) for windows in pictures.windows)
    silent = model.maps(pictures.frames, np.zeros_like(pictures.windows[0]))
    return {NETWORK: (one, other), EXCHANGED: (other, one), SILENCE: (silent, silent)}


def _annotated(collected: Collected, numbers: list[int]) -> _Pictures:
    samples = [collected.samples[number] for number in numbers]
    second = np.stack([collected.second_windows[number] for number in numbers])
    return _Pictures(
        frames=collected.frames[numbers],
        windows=(collected.windows[numbers], second),
        weights=(
            [box_weights(s.sources[0].boxes, box_weight=s.box_weight) for s in samples],
            [box_weights(s.sources[1].boxes, box_weight=s.box_weight) for s in samples],
        ),
        groups=[sample.group for sample in samples],
    )


def _side_by_side(collected: Collected, partners: NDArray[np.int64]) -> _Pictures:
    samples, frames = collected.samples, collected.frames
    left = [
        box_weights([(x0 / 2, y0, x1 / 2, y1) for x0, y0, x1, y1 in s.boxes], box_weight=s.box_weight) for s in samples
    ]
    right = [
        box_weights(
            [((1 + x0) / 2, y0, (1 + x1) / 2, y1) for x0, y0, x1, y1 in samples[p].boxes],
            box_weight=samples[p].box_weight,
        )
        for p in partners
    ]
    return _Pictures(
        frames=np.stack([_halves(frames[n], frames[p]) for n, p in enumerate(partners)]),
        windows=(collected.windows, collected.windows[partners]),
        weights=(left, right),
        groups=[sample.group for sample in samples],
    )


def _halves(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = left.shape[:2]
    sizes = ((width // 2, height), (width - width // 2, height))
    halves = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p, size in zip((left, right), sizes, strict=True)]
    return np.hstack(halves).astype(np.uint8)
