"""What a system is asked about synthetic scenes that it has not seen, and how right it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.data.scene_pool import scene_moments
from avol.train.metrics import (
    Figure,
    centred_disc,
    median_rule_iou,
    peak_position,
    platt_scaling,
    point_in_boxes,
)
from avol.train.network import TwoTowerNetwork
from avol.train.network.activation import activation_logits

Box = tuple[float, float, float, float]
Maps = NDArray[np.float32]
SCENES, FIRST_VALIDATION, FIRST_TEST = 100, 5_000_000, 6_000_000  # of others than those of training
BATCH = 32


@dataclass(frozen=True)
class Questions:
    """Moments of scenes of several objects, of which one is heard; foreign sounds are of a kind not in the picture."""

    frames: NDArray[np.uint8]
    own: NDArray[np.float32]
    foreign: NDArray[np.float32]
    boxes: list[list[Box]]
    groups: list[str]


def questions(spec: ModelSpec, first_seed: int) -> Questions:
    """The same for every system of one front end."""
    moments = [(seed, m) for seed in range(first_seed, first_seed + SCENES) for m in scene_moments(seed, spec)]
    rng, foreign = np.random.default_rng(first_seed), []
    for _, moment in moments:
        others = [other for _, other in moments if other.sounding not in moment.kinds]
        foreign.append(others[rng.integers(len(others))].samples)
    return Questions(
        frames=np.stack([moment.frame for _, moment in moments]),
        own=np.stack([moment.samples for _, moment in moments]),
        foreign=np.stack(foreign),
        boxes=[[moment.box] for _, moment in moments],
        groups=[str(seed) for seed, _ in moments],
    )


@torch.no_grad()
def logits(network: TwoTowerNetwork, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Maps:
    """Pairs' map logits: of a network of one cell ``N x 1 x 1``."""
    starts = range(0, len(frames), BATCH)
    return np.concatenate(
        [
            network(torch.from_numpy(frames[i : i + BATCH]), torch.from_numpy(samples[i : i + BATCH])).numpy()
            for i in starts
        ]
    )


def places(network: TwoTowerNetwork, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Maps:
    """Where a network of one cell would hear the sound: its class activation."""
    starts = range(0, len(frames), BATCH)
    return np.concatenate(
        [
            activation_logits(
                network, torch.from_numpy(frames[i : i + BATCH]), torch.from_numpy(samples[i : i + BATCH])
            ).numpy()
            for i in starts
        ]
    )


def measure(checkpoint: Path) -> dict[str, Figure]:
    """Figures on held-out scenes, each beside its control; right and wrong by a threshold fitted on others."""
    network = load_checkpoint(checkpoint)
    fitted, asked = (questions(network.spec, seed) for seed in (FIRST_VALIDATION, FIRST_TEST))
    true, false = (logits(network, fitted.frames, w).max(axis=(1, 2)) for w in (fitted.own, fitted.foreign))
    truth = np.concatenate([np.ones(len(true)), np.zeros(len(false))])
    scale, bias = platt_scaling(np.concatenate([true, false]).astype(np.float64), truth)
    own, foreign, silent = (
        logits(network, asked.frames, windows) for windows in (asked.own, asked.foreign, np.zeros_like(asked.own))
    )
    scores = [1 / (1 + np.exp(-(scale * maps.max(axis=(1, 2)) + bias))) for maps in (own, foreign, silent)]
    figures = {
        "pairs_accuracy": Figure.accuracy(scores[0], scores[1], asked.groups),
        "pairs_auc": Figure.auc(scores[0], scores[1], asked.groups),
        "own_over_silence_auc": Figure.auc(scores[0], scores[2], asked.groups),
    }
    if network.frame_tower.pooled:
        own, foreign = (places(network, asked.frames, windows) for windows in (asked.own, asked.foreign))
    disc = np.broadcast_to(centred_disc(*own.shape[1:]), own.shape)
    for name, maps in (("", own), ("_with_foreign_sound", foreign), ("_of_centred_disc", disc)):
        hits = [float(median_rule_iou(m, boxes) >= 0.5) for m, boxes in zip(maps, asked.boxes, strict=True)]
        figures[f"ciou{name}"] = Figure.share(hits, asked.groups)
        points = [(0.5, 0.5) if maps is disc else peak_position(m) for m in maps]
        inside = [float(point_in_boxes(p, boxes)) for p, boxes in zip(points, asked.boxes, strict=True)]
        figures[f"peak_in_box{name}"] = Figure.share(inside, asked.groups)
    return figures
