"""Vary frames and sounds of a batch on its device: view, flip, light and noise; level and noise of the sound."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SMALLEST_VIEW = 0.75  # sides of the view as shares of the frame's
LIGHT = 0.25  # largest change of contrast and brightness
FRAME_NOISE = 0.06  # largest standard deviation, of 0..1
QUIETEST_NOISE_DB, LOUDEST_NOISE_DB = -80.0, -26.0
QUIETEST_LEVEL_DB, LOUDEST_LEVEL_DB = -12.0, 6.0


def view_whole(frames: Tensor, size: int) -> Tensor:
    """The whole of frames at the network's size: uint8 ``N x S x S x 3`` to ``N x size x size x 3``."""
    return _to_bytes(_sample(frames, torch.eye(2, 3).expand(len(frames), 2, 3), size))


def vary_frames(rng: np.random.Generator, frames: Tensor, size: int) -> Tensor:
    """A random view of each frame, mirrored half of the time, in other light and with noise.

    Width and height of the view are drawn apart, which varies the aspect of the squashed frame as well.

    Args:
        rng: source of chance.
        frames: uint8 ``N x S x S x 3`` RGB.
        size: side of the result.
    """
    count = len(frames)
    shares = rng.uniform(SMALLEST_VIEW, 1.0, size=(count, 2))
    offsets = rng.uniform(-1, 1, size=(count, 2)) * (1 - shares)
    mirror = rng.choice([-1.0, 1.0], size=count)
    views = np.zeros((count, 2, 3), np.float32)
    views[:, 0, 0], views[:, 1, 1], views[:, :, 2] = shares[:, 0] * mirror, shares[:, 1], offsets
    pixels = _sample(frames, torch.from_numpy(views), size)
    contrast = _column(rng.uniform(1 - LIGHT, 1 + LIGHT, count), pixels)
    brightness = _column(rng.uniform(-LIGHT, LIGHT, count) * 255 / 2, pixels)
    noise = _column(rng.uniform(0, FRAME_NOISE, count) * 255, pixels)
    grain = torch.randn(pixels.shape, generator=_generator(rng, pixels), device=pixels.device)
    return _to_bytes((pixels - 127.5) * contrast + 127.5 + brightness + grain * noise)


def vary_samples(rng: np.random.Generator, samples: Tensor) -> Tensor:
    """Another level and a little noise: float32 ``N x clip_samples``."""
    count = len(samples)
    level = _column(_from_decibels(rng.uniform(QUIETEST_LEVEL_DB, LOUDEST_LEVEL_DB, count)), samples)
    noise = _column(_from_decibels(rng.uniform(QUIETEST_NOISE_DB, LOUDEST_NOISE_DB, count)), samples)
    hiss = torch.randn(samples.shape, generator=_generator(rng, samples), device=samples.device)
    return (samples * level + hiss * noise).clamp(-1, 1)


def _sample(frames: Tensor, views: Tensor, size: int) -> Tensor:
    """Views of frames, given as affine maps of -1..1 coordinates, float32 ``N x 3 x size x size`` in 0..255."""
    grid = F.affine_grid(views.to(frames.device), [len(frames), 3, size, size], align_corners=False)
    pixels = frames.permute(0, 3, 1, 2).float()
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _column(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """One value per row, to be multiplied with ``like``."""
    column = torch.from_numpy(values.astype(np.float32)).to(like.device)
    return column.view(-1, *[1] * (like.ndim - 1))


def _generator(rng: np.random.Generator, like: Tensor) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(int(rng.integers(2**62)))


def _from_decibels(decibels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10 ** (decibels / 20))
