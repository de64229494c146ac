"""The kernels of the first layers: what the network looks and listens for before anything else."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from avol.train.figures.style import FULL_WIDTH_INCHES, styled, without_axes
from avol.train.network import TwoTowerNetwork

Kernels = NDArray[np.float32]  # N x channels x height x width
COLUMNS = 8
ZOOM, GAP = 8, 3  # pixels of the canvas for one weight, and between kernels


def first_kernels(tower: nn.Module) -> Kernels:
    """The kernels of a tower's first convolution, strongest first: float32 ``N x channels x height x width``."""
    conv = next(module for module in tower.modules() if isinstance(module, nn.Conv2d))
    kernels: Kernels = conv.weight.detach().float().cpu().numpy()
    strength = np.linalg.norm(kernels.reshape(len(kernels), -1), axis=1)
    return kernels[np.argsort(-strength, kind="stable")]


def colour_kernels(kernels: Kernels) -> NDArray[np.float32]:
    """Kernels of red, green and blue as pictures: ``N x height x width x 3`` in 0..1.

    Zero is mid-grey, and each kernel has its own scale: batch normalisation takes the strength out again.
    """
    largest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    return np.asarray(0.5 + 0.5 * kernels / np.maximum(largest, 1e-12), np.float32).transpose(0, 2, 3, 1)


def signed_kernels(kernels: Kernels) -> NDArray[np.float32]:
    """Kernels of one channel, each on its own scale: ``N x height x width`` in -1..1, low frequencies in row 0."""
    largest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    return np.asarray(kernels / np.maximum(largest, 1e-12), np.float32)[:, 0]


def mosaic(pictures: NDArray[np.float32], columns: int = COLUMNS) -> NDArray[np.float32]:
    """Pictures of ``h x w`` line by line on one canvas, a white (not-a-number) pixel between them.

    Every pixel of a picture becomes ``ZOOM x ZOOM``, so that the lines between are thinner than a weight.
    """
    count, height, width, *rest = pictures.shape
    large = pictures.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)
    rows, cell = math.ceil(count / columns), (height * ZOOM + GAP, width * ZOOM + GAP)
    canvas = np.full((rows * cell[0] - GAP, columns * cell[1] - GAP, *rest), np.nan, np.float32)
    for number, picture in enumerate(large):
        top, left = number // columns * cell[0], number % columns * cell[1]
        canvas[top : top + height * ZOOM, left : left + width * ZOOM] = picture
    return canvas


@styled
def draw_weights(network: TwoTowerNetwork) -> Figure:
    """The first kernels of both towers as grids of small pictures."""
    frame, audio = first_kernels(network.frame_tower), first_kernels(network.audio_tower)
    rows = math.ceil(max(len(frame), len(audio)) / COLUMNS)
    figure = Figure(figsize=(FULL_WIDTH_INCHES, 0.5 + 0.4 * rows), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        without_axes(axes)
    left.imshow(np.nan_to_num(mosaic(colour_kernels(frame)), nan=1.0), interpolation="nearest")
    left.set_title(f"Frame tower: {len(frame)} RGB kernels of {_size(frame)} pixels")
    left.set_xlabel("mid-grey is zero, each kernel on its own scale")
    # Low frequencies are row 0 and belong at the bottom of each kernel.
    signed = mosaic(signed_kernels(audio)[:, ::-1])
    shown = right.imshow(signed, cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
    right.set_title(f"Audio tower: {len(audio)} kernels of {_size(audio)} cells")
    right.set_xlabel("time →")
    right.set_ylabel("frequency →")
    bar = figure.colorbar(shown, ax=right, shrink=0.75, aspect=22, pad=0.02, ticks=[-1, 0, 1])
    bar.set_label("weight / largest of its kernel")
    bar.outline.set_visible(False)
    return figure


def _size(kernels: Kernels) -> str:
    return f"{kernels.shape[2]} × {kernels.shape[3]}"
