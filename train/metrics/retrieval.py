"""Ranking a gallery by score, against how relevant its items are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics.basics import FloatArray

DEPTH = 30  # of the paper


def ndcg(scores: FloatArray, relevance: FloatArray, *, depth: int = DEPTH) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain of every query: ``DCG / ideal DCG``, ``DCG = sum of rel_k / log2(k + 1)``.

    The sum is over the ``depth`` items of the gallery with the highest scores, ``k`` from 1; items of equal score count
    with their mean relevance, so that no order among them is rewarded. The ideal ranks by relevance.

    Source: Järvelin & Kekäläinen 2002; nDCG@30 in Arandjelović & Zisserman, ECCV 2018, section 3.

    Args:
        scores: ``Q x G``, of every query with every item; ``-inf`` for an item that is not in a query's gallery.
        relevance: ``Q x G``, at least 0, and 0 where the score is ``-inf``.
        depth: how many items count.

    Returns:
        float64 ``Q``, 0..1; NaN for a query to which nothing is relevant.
    """
    discounts = _discounts(np.shape(scores)[1], depth)
    gains = np.array([_tied_gains(s, r) @ discounts for s, r in zip(scores, relevance, strict=True)])
    return _normalise(gains, relevance, discounts)


def chance_ndcg(relevance: FloatArray, gallery: NDArray[np.bool_], *, depth: int = DEPTH) -> NDArray[np.float64]:
    """Expected nDCG of a random order: ``mean relevance * sum of discounts / ideal DCG``, for every query.

    Args:
        relevance: ``Q x G``.
        gallery: ``Q x G``, which items are in a query's gallery.
        depth: how many items count.
    """
    sizes = gallery.sum(axis=1)
    discounts = _discounts(gallery.shape[1], depth)
    sums = np.concatenate([[0.0], np.cumsum(discounts)])[sizes]
    gains = (relevance * gallery).sum(axis=1) / np.maximum(sizes, 1) * sums
    return _normalise(gains, relevance * gallery, discounts)


def _discounts(size: int, depth: int) -> NDArray[np.float64]:
    ranks = np.arange(1, size + 1)
    return np.where(ranks <= depth, 1 / np.log2(ranks + 1), 0.0)


def _tied_gains(scores: FloatArray, relevance: FloatArray) -> NDArray[np.float64]:
    """Relevance in order of falling scores, the mean of ties in place of each of them."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ordered = np.asarray(scores, np.float64)[order]
    block = np.cumsum(np.append(False, ordered[1:] != ordered[:-1]))
    means = np.bincount(block, weights=np.asarray(relevance, np.float64)[order]) / np.bincount(block)
    gains: NDArray[np.float64] = means[block]
    return gains


def _normalise(
    gains: NDArray[np.float64], relevance: FloatArray, discounts: NDArray[np.float64]
) -> NDArray[np.float64]:
    ideal = -np.sort(-np.asarray(relevance, np.float64), axis=1) @ discounts
    return np.where(ideal > 0, gains / np.where(ideal > 0, ideal, 1), np.nan)
