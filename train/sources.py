"""What a run learns from: prepared clips, labelled material, synthetic scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.anchors import ClassAnchors
from avol.train.data.batch import BatchAt, TensorBatch, seeded
from avol.train.data.batches import FEWEST_PHOTOGRAPHS, BatchPlan, BatchSource
from avol.train.data.classes import join_names
from avol.train.data.epochs import Epochs
from avol.train.data.held_out import held_out_batches, held_out_scenes
from avol.train.data.material import Material, load_together
from avol.train.data.pairs import PairSource
from avol.train.data.scene_pool import ScenePool
from avol.train.data.shards import ClipStore, is_prepared
from avol.train.recipes import Recipe, TrainingOptions
from avol.train.scenes import KINDS

VALIDATION_PAIRS = 1024
LABELS_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Source:
    """Batches by step, how many make up the run, fixed batches to validate with, and what the spec says of it all.

    Attributes:
        epochs: how steps fall into epochs, where there are any.
        notes: what the user should know of the data, in a line each.
    """

    batch_at: BatchAt
    steps: int
    validation: list[TensorBatch]
    training: dict[str, str]
    anchors: ClassAnchors | None = None
    epochs: Epochs | None = None
    notes: tuple[str, ...] = ()


def open_training_source(
    folders: Sequence[Path],
    spec: ModelSpec,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    steps: int | None = None,
    scenes: int = 300,
    clip_boxes: bool = False,
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
        clip_boxes: let batches know of the boxes of labelled clips.

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
        validation = held_out_scenes(spec, device)
        return Source(batch_at=batch_at, steps=steps, validation=validation, training=training, anchors=anchors)
    plan = BatchPlan(clip_boxes=clip_boxes)
    return _labelled(folders, spec, pool, plan, seed=seed, device=device, steps=steps, training=training)


def _labelled(
    folders: Sequence[Path],
    spec: ModelSpec,
    pool: ScenePool | None,
    plan: BatchPlan,
    *,
    seed: int,
    device: torch.device,
    steps: int,
    training: dict[str, str],
) -> Source:
    material = load_together(folders, part="train", spec=spec)
    named = ", ".join(map(str, folders))
    try:
        source = BatchSource(material, pool, spec, plan)
    except AvolError as error:
        raise AvolError(f"{named}: {error}") from None
    labels = source.trained_labels
    training |= {"classes": join_names(labels), "photographs": str(len(material.photographs))}
    training |= {"sounds": str(len(material.sounds)), "clips": str(len(material.clips))}
    anchors = ClassAnchors(len(source.index), spec.embedding_size)
    held_out = load_together(folders, part="validation", spec=spec)
    validation = held_out_batches(held_out, spec, plan, labels, device)
    notes = [f"{named}: {line}" for line in _gaps(source, material, validation)]
    batch_at = seeded(source.draw, seed, device)
    return Source(
        batch_at=batch_at, steps=steps, validation=validation, training=training, anchors=anchors, notes=tuple(notes)
    )


def _gaps(source: BatchSource, material: Material, validation: Sequence[TensorBatch]) -> Iterator[str]:
    """What of the material is not learnt from, and what cannot be validated."""
    everything = {item.label for item in material.photographs} | {item.label for item in material.sounds}
    everything |= {clip.label for clip in material.clips}
    heard = {sound for label in source.trained_labels for sound in source.heard_for[label]}
    if unused := sorted(everything - {*source.trained_labels, *heard}):
        shown = ", ".join(unused[:LABELS_SHOWN]) + (" ..." if len(unused) > LABELS_SHOWN else "")
        yield (
            f"{len(unused)} classes are not learnt ({shown}): each needs clips, or sounds and {FEWEST_PHOTOGRAPHS} "
            "photographs."
        )
    if not validation:
        yield "the validation part holds no two classes; the run is not validated."


def _pairs(
    folder: Path, spec: ModelSpec, recipe: Recipe, *, seed: int, device: torch.device, steps: int | None
) -> Source:
    clips = ClipStore(folder, part="train", spec=spec)
    try:
        source = PairSource(clips, spec, recipe, seed=seed, device=device)
    except AvolError as error:
        raise AvolError(f"{folder}: {error}") from None
    total = steps if steps is not None else source.epochs.first_step(recipe.epochs)
    # A copy in another container is another file, and may have come into another part.
    learnt = {clip.record.content_digest for clip in clips}
    stored = ClipStore(folder, part="validation", spec=spec)
    held_out = [clip for clip in stored if clip.record.content_digest not in learnt]
    notes, validation = [], []
    if copies := len(stored) - len(held_out):
        notes.append(f"{folder}: {copies} clips of the validation part are learnt from in copies; they are left out.")
    if len({clip.video_id for clip in held_out}) > 1:
        fixed = PairSource(held_out, spec, replace(recipe, batch=2), seed=0, device=device)
        validation = fixed.fixed_batches(min(VALIDATION_PAIRS, 8 * len(held_out)), min(64, recipe.batch))
    else:
        notes.append(f"{folder}: the validation part holds fewer than two videos; the run is not validated.")
    training = {
        "steps": str(total),
        "clips": str(len(clips)),
        "batch": str(recipe.batch),
        "pairs_per_clip": ", ".join(str(stage.pairs_per_clip) for stage in recipe.stages),
    }
    return Source(
        batch_at=source.batch_at,
        steps=total,
        validation=validation,
        training=training,
        epochs=source.epochs,
        notes=tuple(notes),
    )


def options_of(
    recipe: Recipe,
    source: Source,
    *,
    seed: int,
    precision: str,
    drawing_threads: int = 1,
    box_weight: float = 0.0,
) -> TrainingOptions:
    """The recipe's options for the length of the source's run."""
    epochs, every = source.epochs, 200
    if epochs is not None:
        every = max(20, min(200, epochs.steps_of(0)))
    return TrainingOptions(
        steps=source.steps,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup_steps,
        decay=recipe.decay,
        epochs=None if epochs is None else epochs.reached,
        optimizer=recipe.optimizer,
        all_pairs=recipe.all_pairs,
        seed=seed,
        precision=precision,
        checkpoint_every=every,
        validate_every=every,
        log_every=max(1, min(20, source.steps // 50)),  # a short run has a curve as well
        drawing_threads=drawing_threads,
        box_weight=box_weight,
    )
