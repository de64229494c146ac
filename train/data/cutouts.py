"""Cut objects out of photographs on a white ground, so that the white ground is no shortcut."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

WHITE_TOLERANCE = 14  # how far below 255 a pixel of the ground may be
GROUND_SHARE_OF_BORDER = 0.8  # less white along the border: the photograph has a scene behind the object
FOREGROUND_SHARE = (0.04, 0.92)


def foreground_mask(pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Mask of the object on a white ground: what cannot be reached from the border through near-white.

    Args:
        pixels: uint8 ``H x W x 3``.

    Returns:
        float32 ``H x W``, 0 on the ground, 1 on the object, soft at the edge; None if the ground is not white.
    """
    white = (pixels.min(axis=2) >= 255 - WHITE_TOLERANCE).astype(np.uint8)
    border = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    if border.mean() < GROUND_SHARE_OF_BORDER:
        return None
    # A white frame around the picture joins all of the ground that touches the border.
    framed = cv2.copyMakeBorder(white, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    mask = (framed[1:-1, 1:-1] != 2).astype(np.float32)
    if not FOREGROUND_SHARE[0] <= mask.mean() <= FOREGROUND_SHARE[1]:
        return None
    eroded = cv2.erode(mask, np.ones((3, 3), np.uint8))  # the outermost pixels are half white
    return np.asarray(cv2.GaussianBlur(eroded, (3, 3), 0), dtype=np.float32)
