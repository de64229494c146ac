"""Where in a picture the source of a sound is, as shares of cells: for the mode of learning that is told so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from avol.train.data.pictures import Box, Picture

NOWHERE = -1
LARGEST_AREA = 0.9  # of the picture: a box that covers all of it says nothing


def cell_coverage(boxes: Iterable[Box], height: int, width: int) -> NDArray[np.float32]:
    """Share of each cell that the largest part of any box covers: float32 ``height x width``, boxes in 0..1."""
    covered = np.zeros((height, width), np.float32)
    for x0, y0, x1, y1 in boxes:
        covered = np.maximum(covered, np.outer(_overlap(y0, y1, height), _overlap(x0, x1, width)))
    return covered.astype(np.float32)


def locate(
    pictures: Sequence[Picture], heard: Sequence[str | None], sounds_like: NDArray[np.bool_], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For every picture one sound whose source has a box in it, where there is any.

    Args:
        pictures: ``N``.
        heard: class of every sound of the batch; None: of no class.
        sounds_like: bool ``N x M``, which sound matches which picture.
        height, width: of the grid.

    Returns:
        Number of the sound, int64 ``N``, :data:`NOWHERE` if there is none; shares of cells, float32
        ``N x height x width``.
    """
    located = np.full(len(pictures), NOWHERE, np.int64)
    sources = np.zeros((len(pictures), height, width), np.float32)
    for row, picture in enumerate(pictures):
        # A frame of a clip may lie behind a cut-out of its own class: then the source may be anywhere after all.
        anywhere = {label for label, box in picture.objects if _area(box) >= LARGEST_AREA}
        for label, box in picture.objects:
            if not _area(box) > 0 or label in anywhere or label not in heard:
                continue
            number = heard.index(label)
            same = [box for name, box in picture.objects if name == label]
            if sounds_like[row, number]:
                located[row], sources[row] = number, cell_coverage(same, height, width)
                break
    return located, sources


def _area(box: Box) -> float:
    x0, y0, x1, y1 = box
    return (x1 - x0) * (y1 - y0)


def _overlap(start: float, end: float, cells: int) -> NDArray[np.float64]:
    edges = np.arange(cells + 1) / cells
    return np.asarray(np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) * cells)
