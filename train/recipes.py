"""Recipes: how long, how fast and by which loss a network learns.

``report`` is the student report's that this project re-implements; ``avol`` is what was found to localise best for the
compute. Both work on pairs cut from videos (:mod:`avol.train.data.pairs`); labelled material goes with ``avol``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stage:
    """From an epoch on: how many pairs a clip gives per epoch, and whether they are varied (noise, crop, flip)."""

    from_epoch: int
    pairs_per_clip: int
    augment: bool


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Loss, optimizer and schedule.

    Attributes:
        all_pairs: every picture of a batch meets every sound of it; otherwise a batch is a list of single pairs, half
            of them true.
        decay: ``cosine`` to zero at the last step, or ``steps``: times 0.94 every 16 epochs.
    """

    name: str
    all_pairs: bool
    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    decay: str
    batch: int
    epochs: int
    stages: tuple[Stage, ...]


RECIPES = {
    "report": Recipe(
        name="report",
        all_pairs=False,
        optimizer="adam",
        learning_rate=2.5e-5,
        weight_decay=1e-5,
        warmup_steps=0,
        decay="steps",
        batch=64,
        epochs=200,
        stages=(
            Stage(from_epoch=0, pairs_per_clip=1, augment=False),
            Stage(from_epoch=16, pairs_per_clip=9, augment=True),
        ),
    ),
    "avol": Recipe(
        name="avol",
        all_pairs=True,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.02,
        warmup_steps=100,
        decay="cosine",
        batch=48,
        epochs=60,
        stages=(Stage(from_epoch=0, pairs_per_clip=4, augment=True),),
    ),
}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """One run; the defaults are those of recipe ``avol``.

    Attributes:
        precision: of the towers, ``float32`` or ``bfloat16``.
        anchor_weight: of the class anchors in the loss at the start; falls to a fifth of it.
        box_weight: of the boxes of sources in the loss, where a batch knows of any.
        validate_every: steps between two validations.
        drawing_threads: how many batches are made at a time, beside the learning.
        epochs: which epoch a number of steps reaches, as a fraction; None where there are no epochs.
    """

    steps: int = 3000
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 100
    decay: str = "cosine"
    optimizer: str = "adamw"
    all_pairs: bool = True
    seed: int = 0
    precision: str = "float32"
    anchor_weight: float = 0.5
    box_weight: float = 0.0
    checkpoint_every: int = 200
    validate_every: int = 200
    log_every: int = 20
    drawing_threads: int = 1
    epochs: Callable[[int], float] | None = None

    def epoch_at(self, steps: int) -> dict[str, float]:
        """For the log: passes over the data after so many steps, where these are counted."""
        return {} if self.epochs is None else {"epoch": round(self.epochs(steps), 4)}


DECAY = 0.94
DECAY_EPOCHS = 16


def learning_rate_at(step: int, options: TrainingOptions) -> float:
    """Linear warm-up, then half a cosine down to zero, or stairs."""
    warmup = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    if options.decay == "steps":
        stairs = 0 if options.epochs is None else int(options.epochs(step)) // DECAY_EPOCHS
        return float(options.learning_rate * warmup * DECAY**stairs)
    progress = min(1.0, step / options.steps)
    return options.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))
