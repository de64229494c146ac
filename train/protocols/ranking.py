"""Retrieval across pictures and sounds by the score of their pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics import Figure, chance_ndcg, ndcg
from avol.train.protocols.model import OpenModel, as_floats
from avol.train.protocols.rules import Table
from avol.train.protocols.samples import AnnotatedSample

LARGEST_GALLERY = 400
METRIC = "nDCG@30"


def retrieval_table(
    samples: list[AnnotatedSample],
    frames: NDArray[np.uint8],
    windows: NDArray[np.int16],
    model: OpenModel,
    rng: np.random.Generator,
) -> tuple[Table, str]:
    """nDCG@30 of sounds asked for by picture and of pictures asked for by sound; and a note.

    Items of the query's class are relevant. The query's own video is not in its gallery, so that it is the class that
    has to be recognised. Beside them what a random order reaches; the best order reaches 1. Of more samples than fit
    a gallery, some are drawn.
    """
    if model.all_scores is None:
        return {}, "retrieval: not measured, the system has no vectors to compare"
    chosen = np.sort(rng.permutation(len(samples))[:LARGEST_GALLERY])
    labels = np.array([samples[number].label for number in chosen])
    groups = np.array([samples[number].group for number in chosen])
    gallery = groups[:, None] != groups[None, :]
    relevance = ((labels[:, None] == labels[None, :]) & gallery).astype(np.float64)
    if len(set(labels)) < 2 or not relevance.any():
        return {}, "retrieval: not measured, it takes two classes, and one of them in two videos"
    scores = model.all_scores(frames[chosen], as_floats(windows[chosen])).astype(np.float64)
    scores = np.where(gallery, scores, -np.inf)
    silent = model.all_scores(frames[chosen], np.zeros_like(windows[:1], np.float32)).astype(np.float64)
    queries = np.flatnonzero(relevance.any(axis=1))
    names = groups[queries].tolist()

    def row(values: NDArray[np.float64]) -> dict[str, Figure]:
        return {METRIC: Figure.share(values[queries].tolist(), names)}

    table = {
        "sounds for a picture": row(ndcg(scores, relevance)),
        "pictures for a sound": row(ndcg(scores.T, relevance)),
        "pictures for silence": row(ndcg(np.where(gallery, silent.T, -np.inf), relevance)),
        "in random order": row(chance_ndcg(relevance, gallery)),
        "in the best order": row(ndcg(np.where(gallery, relevance, -np.inf), relevance)),
    }
    note = "" if len(chosen) == len(samples) else f"retrieval: a gallery of {len(chosen)} samples drawn from all"
    return table, note
