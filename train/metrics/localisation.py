"""Localisation against boxes, as the field measures it: which pixels count as found, and how well they meet the boxes.

A protocol compares a set of found pixels with a map of weights ``g`` on a grid of 224 x 224. How the pixels are found
is the protocol's rule: the upper half of the map (median rule), as many of the largest as the boxes have (adaptive
rule), or all that reach one calibrated threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics.basics import Box, FloatArray, _bilinear, centred_disc

SIDE = 224  # pixels of the grid on which the field compares maps with boxes
RIGHT_IOU = 0.5  # from which a localisation counts as right
SUCCESS_THRESHOLDS = 0.05 * np.arange(21)
_TRAPEZOID = np.where((np.arange(21) == 0) | (np.arange(21) == 20), 0.025, 0.05)

Mask = NDArray[np.bool_]


def enlarge(map_values: FloatArray, side: int = SIDE) -> FloatArray:
    """A map of any grid brought bilinearly to ``side x side``, as every published evaluation does first."""
    height, width = map_values.shape
    large: FloatArray = _bilinear(height, side) @ map_values @ _bilinear(width, side).T
    return large


def box_weights(boxes: Sequence[Box], *, box_weight: float = 1.0, side: int = SIDE) -> NDArray[np.float64]:
    """How much finding each pixel counts: ``g = min(1, box_weight * number of boxes over the pixel)``.

    A box covers the pixels ``floor(side * x0)`` to ``floor(side * x1)``, the last one excluded, likewise in y.

    Source: VGG-SS (Chen et al., CVPR 2021) with a weight of 1, the union of the boxes; Flickr-SoundNet (Senocak et al.,
    CVPR 2018, section 5.1) with 1/2: a pixel counts fully once two annotators marked it.

    Args:
        boxes: ``(x0, y0, x1, y1)``, 0..1 of the frame.
        box_weight: of one box.
        side: of the grid.

    Returns:
        float64 ``side x side`` in 0..1.
    """
    weights = np.zeros((side, side))
    for x0, y0, x1, y1 in boxes:
        weights[int(side * y0) : int(side * y1), int(side * x0) : int(side * x1)] += box_weight
    return np.minimum(weights, 1.0)


def largest_pixels(values: FloatArray, count: int) -> Mask:
    """The ``count`` largest of some values; of equal ones, those that come later row by row.

    With half of the pixels this is the median rule. Always the same number of pixels: a map that is the same
    everywhere finds some half of the picture rather than nothing.
    """
    flat = values.reshape(-1)
    found = np.zeros(flat.size, np.bool_)
    if count > 0:
        # Not np.partition, which takes fifty times as long on the flat areas of boxes and far longer on smooth maps.
        least = np.sort(flat)[flat.size - count]
        found[flat > least] = True
        found[np.flatnonzero(flat == least)[found.sum() - count :]] = True
    return found.reshape(values.shape)


def adaptive_count(weights: FloatArray) -> int:
    """Pixels that the adaptive rule finds: as many as the boxes cover; half of all where they cover none.

    Source: Senocak et al., ICCV 2023 ("cIoU adaptive"): without it, no map can be right about a small object.
    """
    return int(np.count_nonzero(weights)) or weights.size // 2


def weighted_iou(found: Mask, weights: FloatArray) -> float:
    """``sum of g over found / (sum of g + number of found pixels where g = 0)``; for g of 0 and 1 the plain IoU.

    Source: Senocak et al., CVPR 2018, equation 13 ("consensus IoU").

    Returns:
        0..1; 0 where there is neither a box nor a found pixel.
    """
    flat, chosen = weights.reshape(-1), found.reshape(-1)
    union = float(flat.sum()) + np.count_nonzero(chosen) - np.count_nonzero(chosen & (flat > 0))
    return float(flat @ chosen) / union if union else 0.0


def ciou(ious: FloatArray) -> float:
    """The field's cIoU at 0.5: the share of pictures whose IoU is at least one half."""
    return float(np.mean(np.asarray(ious) >= RIGHT_IOU))


def success_curve(ious: FloatArray) -> NDArray[np.float64]:
    """Share of pictures whose IoU reaches each of the thresholds 0, 0.05 ... 1: float64 of 21."""
    curve: NDArray[np.float64] = np.mean(np.asarray(ious)[:, None] >= SUCCESS_THRESHOLDS, axis=0)
    return curve


def success_areas(ious: FloatArray) -> NDArray[np.float64]:
    """What each picture adds to the area under the success curve: its own curve's area.

    The trapezoid rule is linear, so that the mean of these is the AUC: it can be drawn for an interval like any mean.
    """
    reached = (np.asarray(ious)[:, None] >= SUCCESS_THRESHOLDS).astype(np.float64)
    return np.asarray(reached @ _TRAPEZOID)


def success_auc(ious: FloatArray) -> float:
    """The field's AUC: area under :func:`success_curve` by the trapezoid rule.

    Source: Senocak et al., CVPR 2018, section 5.1.
    """
    return float(success_curve(ious) @ _TRAPEZOID)


def disc_values(side: int = SIDE) -> FloatArray:
    """:func:`centred_disc` at every pixel: the largest values are the disc around the centre."""
    return centred_disc(side, side)
