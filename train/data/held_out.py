"""Fixed batches from held-out labelled material and scenes, to validate with while a network learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.data.batch import TensorBatch, to_device
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.material import Material
from avol.train.data.scene_pool import ScenePool
from avol.train.test_sets import TestSets

BATCHES = 8
MOSAICS = 192
MOSAICS_PER_BATCH = 32
SCENES, FIRST_SCENE = 60, 4_000_000  # training takes seeds below


def held_out_batches(
    material: Material, spec: ModelSpec, plan: BatchPlan, trained_labels: list[str], device: torch.device
) -> list[TensorBatch]:
    """Batches composed like those of training, and mosaics of four photographs of which one is heard.

    Args:
        material: of the validation part.
        spec: sizes of frames and windows.
        plan: how the batches of training are composed.
        trained_labels: others are not asked for.
        device: where the batches are wanted.

    Returns:
        The same for every run and seed; empty where the material holds no two classes.
    """
    material = Material(
        photographs=[p for p in material.photographs if p.label in trained_labels],
        sounds=material.sounds,
        clips=[clip for clip in material.clips if clip.label in trained_labels],
    )
    batches = []
    try:
        source = BatchSource(material, None, spec, plan, fewest_photographs=1)
    except AvolError:  # fewer than two classes
        return []
    for number in range(BATCHES):
        batches.append(to_device(source.draw(np.random.default_rng([0, number])), device))
    return batches + _mosaics(material, spec, trained_labels, device)


def held_out_scenes(spec: ModelSpec, device: torch.device) -> list[TensorBatch]:
    """Batches of scenes that training does not see, the same for every run and seed.

    Args:
        spec: sizes of frames and windows.
        device: where the batches are wanted.
    """
    pool = ScenePool(spec, scenes=SCENES, first_seed=FIRST_SCENE)
    return [to_device(pool.draw_batch(np.random.default_rng([0, number])), device) for number in range(BATCHES)]


def _mosaics(material: Material, spec: ModelSpec, trained_labels: list[str], device: torch.device) -> list[TensorBatch]:
    sets = TestSets(material, spec, trained_labels)
    if not sets.has_photograph_mosaics:
        return []
    asked = sets.photograph_mosaics(MOSAICS)
    batches = []
    for start in range(0, MOSAICS, MOSAICS_PER_BATCH):
        part = slice(start, start + MOSAICS_PER_BATCH)
        frames, samples = np.stack(asked.frames[part]), np.stack(asked.own[part])
        table = torch.eye(len(frames), dtype=torch.bool, device=device)
        quarters = torch.tensor(asked.quarters[part], device=device)
        batch = TensorBatch(torch.from_numpy(frames).to(device), torch.from_numpy(samples).to(device), table, table)
        batches.append(replace(batch, quarters=quarters))
    return batches
