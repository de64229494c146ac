"""Measure a localiser on prepared videos that nobody has labelled: does it know which sound is a picture's own?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.data.pairs import PairSource
from avol.train.data.shards import ClipStore
from avol.train.evaluate import BATCH, Localise, Results
from avol.train.metrics import Figure
from avol.train.recipes import RECIPES

PICTURES = 1024
PICTURES_PER_CLIP = 8


def evaluate_pairs(folder: Path, part: str, spec: ModelSpec, localise: Localise) -> Results:
    """Balanced true and false pairs of a part: accuracy at one half, and AUC; and the AUC against silence.

    Args:
        folder: made by ``avol data prepare``.
        part: ``validation`` or ``test``.
        spec: of the model.
        localise: of the model.

    Raises:
        AvolError: not a prepared folder for the model's sizes, or one whose part holds fewer than two videos.
    """
    clips = ClipStore(folder, part, spec=spec)
    if len({clip.video_id for clip in clips}) < 2:
        raise AvolError(
            f"{folder}: its {part} part holds fewer than two videos, so there are no false pairs; prepare more videos, "
            "or with another --split."
        )
    cpu = torch.device("cpu")
    # The smallest batch asks for two videos; the pictures are then drawn in larger ones.
    source = PairSource(clips, spec, replace(RECIPES["report"], batch=2), seed=0, device=cpu)
    source.recipe = replace(source.recipe, batch=BATCH)
    scores: dict[str, list[NDArray[np.float32]]] = {"own": [], "foreign": [], "silence": []}
    groups: list[str] = []
    for asked in source.questions(min(PICTURES, PICTURES_PER_CLIP * len(clips))):
        sounds = {"own": asked.own, "foreign": asked.foreign, "silence": torch.zeros_like(asked.own)}
        for name, samples in sounds.items():
            scores[name].append(localise(asked.frames.numpy(), samples.numpy()).max(axis=(1, 2)))
        groups += [clips[int(number)].video_id for number in asked.clips]
    own, foreign, silence = (np.concatenate(parts) for parts in scores.values())
    results = Results()
    results.figures["pairs_accuracy"] = Figure.accuracy(own, foreign, groups)
    results.figures["pairs_auc"] = Figure.auc(own, foreign, groups)
    results.figures["pairs_own_over_silence_auc"] = Figure.auc(own, silence, groups)
    return results
