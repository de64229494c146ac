"""Compose training pictures: photographs, frames of real clips, cut-outs on backgrounds, and mosaics of four."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avol.train.data.material import Photograph

Box = tuple[float, float, float, float]
Pixels = NDArray[np.uint8]

ASPECTS = (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)  # of the frames that the square stands for


@dataclass(frozen=True)
class Picture:
    """A picture and what is in it: uint8 ``S x S x 3`` RGB, and label and box (0..1) of each object."""

    pixels: Pixels
    objects: list[tuple[str, Box]]

    @property
    def labels(self) -> list[str]:
        """Labels of the objects."""
        return [label for label, _ in self.objects]


def photograph_view(rng: np.random.Generator, photograph: Photograph, size: int) -> Picture:
    """A photograph as a frame of random aspect would show it, squashed to the square as every frame is."""
    height, width = photograph.pixels.shape[:2]
    aspect = rng.choice(ASPECTS) * rng.uniform(0.9, 1.1)
    # The largest rectangle of that aspect inside the photograph, then a little less of it.
    zoom = rng.uniform(0.8, 1.0)
    crop_width = max(8, round(min(width, height * aspect) * zoom))
    crop_height = max(8, round(min(height, width / aspect) * zoom))
    if photograph.mask is not None:  # nothing of an object on white is cut off
        crop_width, crop_height = max(crop_width, round(0.85 * width)), max(crop_height, round(0.85 * height))
    left = int(rng.integers(width - crop_width + 1))
    top = int(rng.integers(height - crop_height + 1))
    crop = photograph.pixels[top : top + crop_height, left : left + crop_width]
    return Picture(_to_square(crop, size), [(photograph.label, (0.0, 0.0, 1.0, 1.0))])


def paste_cutout(rng: np.random.Generator, picture: Picture, photograph: Photograph, share: float) -> Picture:
    """Paste a cut-out object at a random place, turned and squashed a little.

    Args:
        rng: source of chance.
        picture: the ground; its own objects stay listed.
        photograph: one with a mask.
        share: longer side of the object as a share of the frame's side.
    """
    assert photograph.mask is not None
    size = picture.pixels.shape[0]
    rows, columns = np.nonzero(photograph.mask > 0.5)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    object_height, object_width = bottom - top, right - left
    zoom = share * size / max(object_height, object_width)
    squash = float(np.exp(rng.uniform(-0.35, 0.35)))
    angle = np.deg2rad(rng.normal(0, 8))
    flip = -1 if rng.random() < 0.5 else 1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([flip * zoom / np.sqrt(squash), zoom * np.sqrt(squash)])
    # A quarter of the object may leave the frame on each side.
    half = 0.5 * share * 0.75
    centre = rng.uniform(min(half, 0.5), max(1 - half, 0.5), size=2) * size
    offset = centre - matrix @ np.array([(left + right) / 2, (top + bottom) / 2])
    affine = np.column_stack([matrix, offset])
    target = (size, size)
    mask = np.asarray(cv2.warpAffine(photograph.mask, affine, target, flags=cv2.INTER_LINEAR), dtype=np.float32)
    pixels = cv2.warpAffine(photograph.pixels, affine, target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lit = np.clip(pixels * rng.uniform(0.6, 1.15) + rng.uniform(-15, 15), 0, 255)
    alpha = mask[:, :, None]
    blended = (picture.pixels * (1 - alpha) + lit * alpha).astype(np.uint8)
    return Picture(blended, [*picture.objects, (photograph.label, _mask_box(mask))])


def mosaic(tiles: list[Picture]) -> Picture:
    """Four pictures in one, a quarter each."""
    size = tiles[0].pixels.shape[0]
    canvas = np.empty_like(tiles[0].pixels)
    objects: list[tuple[str, Box]] = []
    half = size // 2
    for index, tile in enumerate(tiles):
        row, column = divmod(index, 2)
        small = cv2.resize(tile.pixels, (half, half), interpolation=cv2.INTER_AREA)
        canvas[row * half : (row + 1) * half, column * half : (column + 1) * half] = small
        for label, (x0, y0, x1, y1) in tile.objects:
            objects.append((label, ((column + x0) / 2, (row + y0) / 2, (column + x1) / 2, (row + y1) / 2)))
    return Picture(canvas, objects)


def drawn_background(rng: np.random.Generator, size: int) -> Picture:
    """A ground without any object: a few colours, smoothed at a random scale, with grain."""
    cells = int(rng.integers(1, 12))
    coarse = rng.uniform(0, 255, size=(cells + 1, cells + 1, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, rng.uniform(0, 12), size=smooth.shape)
    contrast = rng.uniform(0.2, 1.0)
    pixels = (smooth - 127) * contrast + rng.uniform(50, 210) + grain
    return Picture(np.clip(pixels, 0, 255).astype(np.uint8), [])


def frame_view(
    rng: np.random.Generator, frame: Pixels, label: str, boxes: list[Box], size: int, *, smallest_crop: float = 0.75
) -> Picture:
    """A frame of a real clip, cropped by up to a quarter so that its objects move off their habitual places."""
    side = frame.shape[0]
    crop = rng.uniform(smallest_crop, 1.0, size=2) * side
    left, top = rng.uniform(0, side - crop)
    x0, y0, x1, y1 = round(left), round(top), round(left + crop[0]), round(top + crop[1])
    pixels = _to_square(frame[y0:y1, x0:x1], size)
    moved = []
    for bx0, by0, bx1, by1 in boxes or [(0.0, 0.0, 1.0, 1.0)]:
        xs = np.clip((np.array([bx0, bx1]) * side - x0) / (x1 - x0), 0, 1)
        ys = np.clip((np.array([by0, by1]) * side - y0) / (y1 - y0), 0, 1)
        moved.append((label, (float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1]))))
    return Picture(pixels, moved)


def augment_photometry(rng: np.random.Generator, picture: Picture) -> Picture:
    """Mirror, brightness, contrast, saturation, colour cast, blur and sensor noise, as cameras and codecs do."""
    pixels, objects = picture.pixels, picture.objects
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
        objects = [(label, (1 - x1, y0, 1 - x0, y1)) for label, (x0, y0, x1, y1) in objects]
    values = pixels.astype(np.float32)
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)[:, :, None]
    saturation = np.float32(0.0 if rng.random() < 0.06 else rng.uniform(0.5, 1.3))
    values = grey + (values - grey) * saturation
    gain = rng.uniform(0.65, 1.3) * rng.uniform(0.92, 1.08, size=3)
    values = (values - 127) * gain.astype(np.float32) + np.float32(127 + rng.uniform(-30, 30))
    if rng.random() < 0.3:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.3)), dtype=np.float32)
    if rng.random() < 0.4:
        values = values + rng.standard_normal(values.shape, dtype=np.float32) * np.float32(rng.uniform(1, 10))
    return Picture(np.clip(values, 0, 255).astype(np.uint8), objects)


def _to_square(pixels: Pixels, size: int) -> Pixels:
    shrinking = pixels.shape[0] > size and pixels.shape[1] > size
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=interpolation), dtype=np.uint8)


def _mask_box(mask: NDArray[np.float32]) -> Box:
    rows, columns = np.nonzero(mask > 0.5)
    if rows.size == 0:
        return 0.0, 0.0, 0.0, 0.0
    height, width = mask.shape
    return (
        float(columns.min() / width),
        float(rows.min() / height),
        float((columns.max() + 1) / width),
        float((rows.max() + 1) / height),
    )
