"""Log-power spectrogram as a convolution with a DFT basis: the one implementation, trained with, exported and run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avol.runtime.spec import WAVEFORM, SpectrogramSpec


def sound_front_end(spec: SpectrogramSpec) -> nn.Module:
    """What turns samples ``N x S`` into the columns ``N x rows x T`` that a spec describes."""
    return WaveformColumns(spec) if spec.kind == WAVEFORM else Spectrogram(spec)


class WaveformColumns(nn.Module):
    """Samples, cut into columns: for towers that hear the waveform, through the same door as a spectrogram."""

    basis: Tensor

    def __init__(self, spec: SpectrogramSpec) -> None:
        super().__init__()
        self.spec = spec
        # A convolution that picks one sample a row is exact, and takes tracks of any length on every runtime.
        self.register_buffer("basis", torch.eye(spec.rows).unsqueeze(1), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """float32 ``N x S`` to ``N x rows x T`` with ``T = S // hop_samples``."""
        return nn.functional.conv1d(samples.unsqueeze(1), self.basis, stride=self.spec.hop_samples)


class Spectrogram(nn.Module):
    """Samples to columns of normalised log-power.

    A plain ``Conv1d`` whose filters are the Hann-weighted cosines and sines of the wanted FFT bins: portable to every
    runtime (STFT and DFT operators are not) and free of padding, so a long track can be cut into chunks whose columns
    are exactly those of the whole. Power over window energy: white noise has the same
    power whatever the window. Float32 always: the floor of 1e-6 and its logarithm do not survive half precision.
    """

    basis: Tensor

    def __init__(self, spec: SpectrogramSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("basis", dft_basis(spec), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Transform samples.

        Args:
            samples: float32 ``N x S`` in -1..1 at ``spec.sample_rate_hz``, with ``S >= window_samples``.

        Returns:
            float32 ``N x rows x T`` with ``T = (S - window_samples) // hop_samples + 1``; low frequencies first.
        """
        spec = self.spec
        if torch.is_autocast_enabled(samples.device.type):
            with torch.autocast(samples.device.type, enabled=False):
                return self.forward(samples)
        parts = nn.functional.conv1d(samples.unsqueeze(1), self.basis, stride=spec.hop_samples)
        # Channels are ordered (cosine/sine x bin within row, row), so the mean power of a row is a sum over axis 1.
        squares = (parts * parts).reshape(samples.shape[0], 2 * spec.bins_per_row, spec.rows, -1)
        power = squares.sum(dim=1) * (1.0 / spec.bins_per_row)
        return (torch.log(power + spec.power_floor) - spec.log_mean) * (1.0 / spec.log_scale)


def dft_basis(spec: SpectrogramSpec) -> Tensor:
    """Filters of :class:`Spectrogram`: ``(2 * bins_per_row * rows) x 1 x window_samples``, float32.

    The window is the periodic Hann window; each filter is scaled so that power is relative to the window's energy.
    """
    samples = torch.arange(spec.window_samples, dtype=torch.float64)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * samples / spec.window_samples)
    hann = hann / hann.square().sum().sqrt()
    row_bins = spec.first_bin + spec.bins_per_row * torch.arange(spec.rows, dtype=torch.float64)
    filters = []
    for offset in range(spec.bins_per_row):
        phase = 2 * math.pi / spec.fft_samples * (row_bins + offset)[:, None] * samples
        filters += [hann * torch.cos(phase), hann * torch.sin(phase)]
    return torch.cat(filters).unsqueeze(1).float()
