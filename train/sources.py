"""What a run learns from: prepared clips, labelled material, synthetic scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.anchors import ClassAnchors
from avol.train.data.batch import BatchAt, TensorBatch, seeded
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.material import load_together
from avol.train.data.pairs import PairSource
from avol.train.data.scene_pool import ScenePool
from avol.train.data.shards import ClipStore, is_prepared
from avol.train.recipes import DECAY_EPOCHS, Recipe, TrainingOptions
from avol.train.scenes import KINDS

VALIDATION_PAIRS = 1024


@dataclass(frozen=True, kw_only=True)
class Source:
    """Batches by step, how many make up the run, fixed batches to validate with, and what the spec says of it all.

    Attributes:
        epoch_ends: steps at which epochs end, as far as the run goes; empty where there are no epochs.
    """

    batch_at: BatchAt
    steps: int
    validation: list[TensorBatch]
    training: dict[str, str]
    anchors: ClassAnchors | None = None
    epoch_ends: tuple[int, ...] = ()


def open_training_source(
    folders: Sequence[Path],
    spec: ModelSpec,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    steps: int | None = None,
    scenes: int = 300,
) -> Source:
    """What to learn from: one prepared folder, labelled folders with scenes, or scenes alone (no folder).

    Args:
        folders: made by ``avol data prepare``, or with the lists that :func:`load_material` reads.
        spec: of the network.
        recipe: batch, stages and length in epochs.
        seed: of everything random.
        device: where the batches are wanted.
        steps: length of the run; the recipe's epochs if None (needs a prepared folder).
        scenes: synthetic scenes to render, for labelled material and for scenes alone.

    Raises:
        AvolError: the data is missing, malformed or too little, or the recipe does not go with it.
    """
    prepared = [folder for folder in folders if is_prepared(folder)]
    if prepared and len(folders) > 1:
        raise AvolError(f"{prepared[0]}: prepared pairs are learnt from alone; give one --data, or prepare it all.")
    if prepared:
        return _pairs(prepared[0], spec, recipe, seed=seed, device=device, steps=steps)
    if not recipe.all_pairs:
        raise AvolError(f"recipe {recipe.name} learns from prepared pairs; run avol data prepare, name it with --data.")
    steps = steps or TrainingOptions().steps
    pool = ScenePool(spec, scenes=scenes) if scenes else None
    training = {"steps": str(steps), "scenes": str(scenes)}
    if not folders:
        assert pool is not None
        anchors = ClassAnchors(len(KINDS), spec.embedding_size)
        batch_at = seeded(pool.draw_batch, seed, device)
        return Source(batch_at=batch_at, steps=steps, validation=[], training=training, anchors=anchors)
    material = load_together(folders, part="train", spec=spec)
    source = BatchSource(material, pool, spec, BatchPlan())
    training |= {"classes": ", ".join(source.trained_labels), "photographs": str(len(material.photographs))}
    training |= {"sounds": str(len(material.sounds)), "clips": str(len(material.clips))}
    anchors = ClassAnchors(len(source.index), spec.embedding_size)
    batch_at = seeded(source.draw, seed, device)
    return Source(batch_at=batch_at, steps=steps, validation=[], training=training, anchors=anchors)


def _pairs(
    folder: Path, spec: ModelSpec, recipe: Recipe, *, seed: int, device: torch.device, steps: int | None
) -> Source:
    clips = ClipStore(folder, part="train", spec=spec)
    try:
        source = PairSource(clips, spec, recipe, seed=seed, device=device)
    except AvolError as error:
        raise AvolError(f"{folder}: {error}") from None
    ends = [source.steps_of(0)]
    while ends[-1] < steps if steps is not None else len(ends) < recipe.epochs:
        ends.append(ends[-1] + source.steps_of(len(ends)))
    total = steps if steps is not None else ends[-1]
    held_out = ClipStore(folder, part="validation", spec=spec)
    validation = []
    if len({clip.video_id for clip in held_out}) > 1:
        fixed = PairSource(held_out, spec, replace(recipe, batch=2), seed=0, device=device)
        fixed.recipe = replace(recipe, batch=min(64, recipe.batch))
        validation = fixed.fixed_batches(min(VALIDATION_PAIRS, 8 * len(held_out)))
    training = {"steps": str(total), "clips": str(len(clips))}
    return Source(
        batch_at=source.batch_at, steps=total, validation=validation, training=training, epoch_ends=tuple(ends)
    )


def options_of(
    recipe: Recipe, source: Source, *, seed: int, precision: str, drawing_threads: int = 1
) -> TrainingOptions:
    """The recipe's options for the length of the source's run."""
    every = max(20, min(200, source.epoch_ends[0])) if source.epoch_ends else 200
    return TrainingOptions(
        steps=source.steps,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup_steps,
        decay=recipe.decay,
        decay_steps=source.epoch_ends[DECAY_EPOCHS - 1 :: DECAY_EPOCHS],
        optimizer=recipe.optimizer,
        all_pairs=recipe.all_pairs,
        seed=seed,
        precision=precision,
        checkpoint_every=every,
        validate_every=every,
        drawing_threads=drawing_threads,
    )
