"""Losses on the map logits of every picture of a batch with every sound of it.

A plain cross-entropy on the maximum over all pairs hardly starts to learn: it finds pictures that match more sounds
before it finds sounds. A softmax over the sounds of one picture (and over the pictures of one sound) cannot be won
that way; a cross-entropy balanced within each picture then puts the scores where a threshold can use them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def correspondence_loss(
    map_logits: Tensor, matches: Tensor, *, known: Tensor | None = None, balanced_weight: float = 0.5
) -> Tensor:
    """Softmax over sounds and over pictures, plus a balanced cross-entropy on the maximum.

    Args:
        map_logits: float ``N x M x GH x GW``, logits of picture ``n`` with sound ``m``.
        matches: bool ``N x M``, whether sound ``m`` has a source in picture ``n``.
        known: bool ``N x M``, False where it is not known (or not fair to ask) whether they match; such pairs count
            neither as positive nor as negative. None: all are known.
        balanced_weight: share of the cross-entropy on the maximum in the sum.

    Returns:
        The scalar loss.
    """
    if known is None:
        known = torch.ones_like(matches)
    matches = matches & known
    unlike = ~matches & known
    pooled = mean_log_exp(map_logits)
    softmax = 0.5 * (_softmax_loss(pooled, matches, unlike) + _softmax_loss(pooled.T, matches.T, unlike.T))
    balanced = balanced_cross_entropy(map_logits.amax(dim=(2, 3)), matches, unlike)
    return (1 - balanced_weight) * softmax + balanced_weight * balanced


def pair_loss(map_logits: Tensor, matches: Tensor, *, known: Tensor) -> Tensor:
    """Binary cross-entropy of single pairs on the maximum of their maps (paper, section 4).

    Args:
        map_logits: float ``N x M x GH x GW``.
        matches: bool ``N x M``, whether the pair is a true one.
        known: bool ``N x M``, True for the pairs of the list; the others are not looked at.

    Returns:
        The scalar loss.
    """
    logits = map_logits.amax(dim=(2, 3))[known]
    return F.binary_cross_entropy_with_logits(logits, matches[known].to(logits.dtype))


def contrastive_loss(map_logits: Tensor, matches: Tensor, *, known: Tensor) -> Tensor:
    """Softmax over sounds and over pictures on the maximum of the maps: a bag of cells matches if one of them does.

    Source: Mo & Morgado, *Localizing Visual Sounds the Easy Way*, ECCV 2022 (arXiv 2203.09324), section 3.3. There
    every sound of a batch has one picture; here it may have several, which do not compete with each other.

    Args:
        map_logits: float ``N x M x GH x GW``.
        matches, known: bool ``N x M``, as for :func:`correspondence_loss`.

    Returns:
        The scalar loss.
    """
    pooled, matches, unlike = map_logits.amax(dim=(2, 3)), matches & known, ~matches & known
    return 0.5 * (_softmax_loss(pooled, matches, unlike) + _softmax_loss(pooled.T, matches.T, unlike.T))


def triplet_loss(map_logits: Tensor, matches: Tensor, *, known: Tensor) -> Tensor:
    """Ratio loss of every picture with each of its sounds and each foreign one.

    Of distances ``d`` to the two sounds, their softmax ``(p, q)`` has to come near ``(0, 1)``: the loss is
    ``p^2 + (1 - q)^2 = 2 sigmoid(d_true - d_false)^2``. Logits fall with the distance.

    Source: Senocak et al., *Learning to Localize Sound Source in Visual Scenes*, CVPR 2018 (arXiv 1803.03849),
    section 4.1; Hoffer & Ailon, *Deep Metric Learning Using Triplet Network*, 2015 (arXiv 1412.6622), section 3.

    Args:
        map_logits: float ``N x M x GH x GW``.
        matches, known: bool ``N x M``, as for :func:`correspondence_loss`.

    Returns:
        The scalar loss, a mean over pictures that have both.
    """
    scores, matches, unlike = map_logits.amax(dim=(2, 3)), matches & known, ~matches & known
    ratios = 2 * torch.sigmoid(scores[:, None, :] - scores[:, :, None]).square()  # picture x true sound x false sound
    triplets = matches[:, :, None] & unlike[:, None, :]
    return _masked_mean(ratios.flatten(1), triplets.flatten(1))


def box_loss(map_logits: Tensor, sources: Tensor) -> Tensor:
    """Cross-entropy of the attention with the cells in which the source is known to be.

    Source: Senocak et al., CVPR 2018 (arXiv 1803.03849), section 4.2.

    Args:
        map_logits: float ``K x GH x GW`` of true pairs; only differences within a map count.
        sources: float ``K x GH x GW``, share of each cell that the source's box covers.

    Returns:
        The scalar loss; zero of no pairs and of sources that cover nothing.
    """
    attention = map_logits.flatten(1).log_softmax(dim=1)
    covered = sources.flatten(1)
    total = covered.sum(dim=1)
    losses = -(attention * covered).sum(dim=1) / total.clamp_min(1e-6)
    return losses.sum() / (total > 0).sum().clamp(min=1)


def balanced_accuracy(map_logits: Tensor, matches: Tensor, known: Tensor) -> float:
    """Mean of the shares of true and of false pairs that the sign of the largest logit gets right."""
    scores = map_logits.amax(dim=(2, 3))
    shares = [
        (right[pairs]).float().mean().item()
        for right, pairs in ((scores > 0, matches & known), (scores <= 0, ~matches & known))
        if pairs.any()
    ]
    return sum(shares) / len(shares)


def mean_log_exp(map_logits: Tensor) -> Tensor:
    """Soft maximum of maps: ``... x GH x GW`` to ``...``; unlike the maximum it sends a gradient to every cell."""
    cells = map_logits.flatten(-2)
    return cells.logsumexp(dim=-1) - torch.log(torch.tensor(float(cells.shape[-1])))


def balanced_cross_entropy(logits: Tensor, matches: Tensor, unlike: Tensor) -> Tensor:
    """Binary cross-entropy in which the true and the false pairs of each picture weigh the same.

    Args:
        logits: float ``N x M``.
        matches, unlike: bool ``N x M``, the true and the false pairs.
    """
    true_loss = _masked_mean(F.softplus(-logits), matches)
    false_loss = _masked_mean(F.softplus(logits), unlike)
    return 0.5 * (true_loss + false_loss)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the rows that have entries of the mean over their entries."""
    counts = mask.sum(dim=1)
    row_means = (values * mask).sum(dim=1) / counts.clamp(min=1)
    return row_means.sum() / (counts > 0).sum().clamp(min=1)


def _softmax_loss(pooled: Tensor, matches: Tensor, unlike: Tensor) -> Tensor:
    """Cross-entropy of each match against the false pairs of its row; other matches of the row do not compete."""
    false_sum = pooled.masked_fill(~unlike, -torch.inf).logsumexp(dim=1, keepdim=True)
    return _masked_mean(torch.logaddexp(pooled, false_sum) - pooled, matches)
