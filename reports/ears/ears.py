"""Ears that learnt from far more sounds than are at hand: two networks of musicnn, and aiSFX.

musicnn (Pons and Serra, 2019; PyPI ``musicnn``, ISC) was trained on tags of music, of MagnaTagATune and of the Million
Song Dataset; aiSFX (Ma and Lerch, ISMIR 2022; PyPI ``aisfx``, weights CC BY 4.0) on libraries of sound effects. Only
their weights are used; the networks are written anew after the papers and the shapes of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks, resample

Samples = NDArray[np.float32]
Features = NDArray[np.float32]
Ears = Callable[[Samples], Features]
MUSICNN = ("MTT_musicnn", "MSD_musicnn")
BANDS = 96
COUNTS = (np.dtypes.Int64DType, np.dtypes.Float64DType)  # types of NumPy numbers in aiSFX's file


def load_ears(folder: Path) -> Ears:
    """All three on a processor.

    Args:
        folder: holds ``MTT_musicnn.npz`` and ``MSD_musicnn.npz`` (of ``convert_musicnn.py``), and ``checkpoint.pth``
            of aiSFX.

    Returns:
        From windows float32 ``N x samples`` at 16 kHz to features float32 ``N x 4436``, each network's side by side.
    """
    import openvino

    ears: list[MelNetwork] = [MusiCnn(folder / f"{name}.npz") for name in MUSICNN]
    ears.append(AiSfx(folder / "checkpoint.pth"))
    compiled = []
    for ear in ears:
        example = ear.spectrogram(torch.zeros(1, 16387))
        # OpenVINO in bfloat16 is several times as fast on a processor as torch.
        model = openvino.convert_model(ear.eval(), example_input=example)
        compiled.append(openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"}))

    def run(windows: Samples) -> Features:
        samples = torch.from_numpy(windows)
        found = [model([ear.spectrogram(samples).numpy()])[0] for ear, model in zip(ears, compiled, strict=True)]
        return np.concatenate(found, axis=1)

    return run


class MelNetwork(nn.Module):
    """A network that hears mel spectrograms of a kind of its own."""

    def spectrogram(self, samples: Tensor) -> Tensor:
        """``N x samples`` at 16 kHz to ``N x T x 96``."""
        raise NotImplementedError


class MusiCnn(MelNetwork):
    """Filters over many bands or many columns, three residual layers, maximum and mean over time, one dense layer."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with np.load(weights) as arrays:
            for name, values in arrays.items():
                self.register_buffer(name.replace("|", "_"), torch.from_numpy(values))
        self.filters = melscale_fbanks(257, 0.0, 8000.0, BANDS, 16_000, norm="slaney", mel_scale="slaney")

    def spectrogram(self, samples: Tensor) -> Tensor:
        """log10(1 + 10,000 power), 512 samples every 256."""
        return _log_mel(samples, self.filters, 512, "constant")

    def forward(self, columns: Tensor) -> Tensor:
        """``N x T x 96`` to ``N x 1706``: the dense layer's 200 values, and what was pooled."""
        picture = self._normalised(columns.unsqueeze(1), 0)
        front = []
        for number, reach in enumerate((7, 7, 128, 64, 32)):
            heard = self._convolved(picture, number, reach)
            front.append(self._normalised(heard, number + 1).amax(dim=3))
        layers = [torch.cat(front, dim=1)]
        for number in (5, 6, 7):
            heard = self._convolved(layers[-1].transpose(1, 2).unsqueeze(1), number, 7).squeeze(3)
            heard = self._normalised(heard, number + 1)
            layers.append(heard if number == 5 else heard + layers[-1])
        everything = torch.cat(layers, dim=1)
        pooled = torch.stack([everything.amax(dim=2), everything.mean(dim=2)], dim=2).flatten(1)
        pooled = self._normalised(pooled, 9)
        dense = F.relu(pooled @ self.get_buffer("dense_kernel") + self.get_buffer("dense_bias"))
        return torch.cat([self._normalised(dense, 10), pooled], dim=1)

    def _convolved(self, picture: Tensor, number: int, reach: int) -> Tensor:
        name = f"conv2d_{number}" if number else "conv2d"
        kernel = self.get_buffer(f"{name}_kernel").permute(3, 2, 0, 1)
        padded = F.pad(picture, (0, 0, (reach - 1) // 2, reach // 2))
        return F.relu(F.conv2d(padded, kernel, self.get_buffer(f"{name}_bias")))

    def _normalised(self, values: Tensor, number: int) -> Tensor:
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(values, *(self.get_buffer(f"{name}_{part}") for part in names), eps=1e-3)


class AiSfx(MelNetwork):
    """Four blocks of two 3x3 convolutions; maximum over blocks of two bands and columns after each but the last."""

    LARGEST = 9.457798957824707  # of the spectrograms that it was trained on

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        # It holds NumPy numbers besides the weights: let these in, and nothing that could run.
        scalar = (np._core.multiarray.scalar, "numpy.core.multiarray.scalar")
        with torch.serialization.safe_globals([scalar, np.dtype, *COUNTS]):
            weights, _ = torch.load(checkpoint, map_location="cpu", weights_only=True)
        self.names = [(f"conv_block{block}", part) for block in (1, 2, 3, 4) for part in (1, 2)]
        for name, values in weights.items():
            if name.startswith("embedding_net."):
                self.register_buffer(name.removeprefix("embedding_net.").replace(".", "_"), values)
        filters = melscale_fbanks(1025, 0.0, 22_050.0, BANDS, 44_100, norm=None, mel_scale="htk")
        self.filters = filters / filters.sum(dim=0)

    def spectrogram(self, samples: Tensor) -> Tensor:
        """As MusiCnn's, of 2,048 samples every 1,024 at 44.1 kHz, of windows as loud as can be."""
        loudest = samples.abs().amax(dim=1, keepdim=True).clamp_min(1e-9)
        return _log_mel(resample(samples / loudest, 16_000, 44_100), self.filters, 2048, "reflect") / self.LARGEST

    def forward(self, columns: Tensor) -> Tensor:
        """``N x T x 96`` to ``N x 1024``: maximum and mean over time of the mean over bands."""
        picture = columns.unsqueeze(1)
        for block, part in self.names:
            picture = F.conv2d(picture, self.get_buffer(f"{block}_conv{part}_weight"), padding=1)
            names = ("running_mean", "running_var", "weight", "bias")
            norm = (self.get_buffer(f"{block}_bn{part}_{name}") for name in names)
            picture = F.relu(F.batch_norm(picture, *norm))
            if part == 2 and block != "conv_block4":
                picture = F.max_pool2d(picture, 2)
        heard = picture.mean(dim=3)
        return torch.cat([heard.amax(dim=2), heard.mean(dim=2)], dim=1)


def _log_mel(samples: Tensor, filters: Tensor, size: int, edges: str) -> Tensor:
    window = torch.hann_window(size)
    spectrum = torch.stft(samples, size, size // 2, window=window, pad_mode=edges, return_complex=True)
    return torch.log10(1 + 1e4 * (spectrum.abs().square().transpose(1, 2) @ filters))
