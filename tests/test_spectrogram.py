"""The spectrogram graph against torchaudio and SciPy, and what is asked of it besides.

Largest difference of the normalised values, which span about -2 to 3.3 (measured on one core; a multiple of the bound
would be a different definition, not another rounding):

============  =====================  ============================
spec          torchaudio (float32)   SciPy (float64, both classes)
============  =====================  ============================
128 columns   7.0e-5                 4.3e-5
224           1.2e-4                 9.5e-5
============  =====================  ============================

All of it is float32 beside a loud tone, where a bin's power is a small difference of large sums and the logarithm
magnifies it; on noise alone the difference is below 2e-5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT, stft
from scipy.signal.windows import hann

from avol.runtime.spec import SpectrogramSpec
from avol.train.network.presets import SPECTROGRAM_128, SPECTROGRAM_224
from avol.train.network.spectrogram import Spectrogram, dft_basis

LARGEST_DIFFERENCE = 2e-4  # of normalised values; measured: 1.2e-4
LARGEST_DIFFERENCE_ON_NOISE = 4e-5  # measured: 2.1e-5

both_specs = pytest.mark.parametrize("spec", [SPECTROGRAM_128, SPECTROGRAM_224], ids=["128", "224"])


def sounds(spec: SpectrogramSpec, seconds: float = 2.0) -> NDArray[np.float32]:
    """White noise, a tone in faint noise, a sweep, and noise that is hardly there: ``4 x S``."""
    rng = np.random.default_rng(1)
    times = np.arange(round(seconds * spec.sample_rate_hz)) / spec.sample_rate_hz
    noise = rng.standard_normal((3, times.size))
    tone = 0.5 * np.sin(2 * np.pi * 440.0 * times)
    sweep = np.sin(2 * np.pi * (50 + 0.2 * spec.sample_rate_hz * times / seconds) * times)
    rows = [0.2 * noise[0], tone + 1e-3 * noise[1], sweep, 1e-4 * noise[2]]
    return np.stack(rows).astype(np.float32)


def transform(spec: SpectrogramSpec, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    columns: NDArray[np.float32] = Spectrogram(spec)(torch.from_numpy(samples)).numpy()
    return columns


def normalised_rows(spec: SpectrogramSpec, power: NDArray[Any]) -> NDArray[np.float64]:
    """Power ``N x bins x T`` of a Hann-windowed FFT to the rows that the spec defines."""
    energy = np.square(hann(spec.window_samples, sym=False)).sum()
    last = spec.first_bin + spec.rows * spec.bins_per_row
    rows = power[:, spec.first_bin : last].reshape(power.shape[0], spec.rows, spec.bins_per_row, -1)
    relative = rows.astype(np.float64).mean(axis=2) / energy
    return np.asarray((np.log(relative + spec.power_floor) - spec.log_mean) / spec.log_scale)


def assert_same_columns(found: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    differences = np.abs(found - expected).max(axis=(1, 2))
    assert differences.max() <= LARGEST_DIFFERENCE
    assert differences[[0, 3]].max() <= LARGEST_DIFFERENCE_ON_NOISE


@both_specs
def test_agrees_with_torchaudio(spec: SpectrogramSpec) -> None:
    samples = sounds(spec)
    # torchaudio puts a window that is shorter than the transform in the middle of it.
    side = (spec.fft_samples - spec.window_samples) // 2
    reference = torchaudio.transforms.Spectrogram(
        n_fft=spec.fft_samples,
        win_length=spec.window_samples,
        hop_length=spec.hop_samples,
        power=2.0,
        center=False,
        window_fn=torch.hann_window,  # periodic
    )
    power = reference(torch.nn.functional.pad(torch.from_numpy(samples), (side, side)))
    assert_same_columns(transform(spec, samples), normalised_rows(spec, power.numpy()))


@both_specs
def test_agrees_with_scipy_stft(spec: SpectrogramSpec) -> None:
    samples = sounds(spec)
    window = hann(spec.window_samples, sym=False)
    _, _, spectrum = stft(
        samples.astype(np.float64),
        window=window,
        nperseg=spec.window_samples,
        noverlap=spec.window_samples - spec.hop_samples,
        nfft=spec.fft_samples,
        boundary=None,
        padded=False,
        scaling="spectrum",
    )
    power = np.square(np.abs(spectrum * window.sum()))
    assert_same_columns(transform(spec, samples), normalised_rows(spec, power))


@both_specs
def test_agrees_with_scipy_short_time_fft(spec: SpectrogramSpec) -> None:
    samples = sounds(spec)
    found = transform(spec, samples)
    reference = ShortTimeFFT(
        hann(spec.window_samples, sym=False), spec.hop_samples, spec.sample_rate_hz, mfft=spec.fft_samples
    )
    # SciPy's column p is centred on sample p * hop + k_offset, ours starts at p * hop.
    spectrum = reference.stft(samples.astype(np.float64), p0=0, p1=found.shape[2], k_offset=spec.window_samples // 2)
    assert_same_columns(found, normalised_rows(spec, np.square(np.abs(spectrum))))


@both_specs
def test_clip_has_the_columns_of_the_spec(spec: SpectrogramSpec) -> None:
    assert transform(spec, np.zeros((3, spec.clip_samples), np.float32)).shape == (3, spec.rows, spec.columns)
    # One sample less is one column less: nothing is padded.
    assert transform(spec, np.zeros((1, spec.clip_samples - 1), np.float32)).shape[2] == spec.columns - 1
    assert transform(spec, np.zeros((1, spec.window_samples), np.float32)).shape[2] == 1


@settings(max_examples=10, deadline=None)
@given(first=st.integers(0, 60), count=st.integers(1, 60), spec=st.sampled_from([SPECTROGRAM_128, SPECTROGRAM_224]))
def test_chunks_have_the_columns_of_the_whole(first: int, count: int, spec: SpectrogramSpec) -> None:
    samples = sounds(spec)[:2]
    start = first * spec.hop_samples
    chunk = samples[:, start : start + (count - 1) * spec.hop_samples + spec.window_samples]
    whole = transform(spec, samples)[:, :, first : first + count]
    # Not bit for bit: the convolution may add in another order for another length.
    np.testing.assert_allclose(transform(spec, chunk), whole, atol=LARGEST_DIFFERENCE, rtol=0)


@both_specs
@pytest.mark.parametrize("hertz", [100.0, 440.0, 1000.0, 3150.0, 7600.0])
def test_tone_is_in_the_row_of_its_frequency(spec: SpectrogramSpec, hertz: float) -> None:
    times = np.arange(spec.clip_samples) / spec.sample_rate_hz
    columns = transform(spec, (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)[None])[0]
    bin_hertz = spec.sample_rate_hz / spec.fft_samples
    row_centres = (spec.first_bin + spec.bins_per_row * np.arange(spec.rows) + (spec.bins_per_row - 1) / 2) * bin_hertz
    expected = int(np.argmin(np.abs(row_centres - hertz)))
    loudest = columns.argmax(axis=0)
    # A tone between two rows may lean to either as its phase moves along.
    assert np.abs(loudest - expected).max() <= (0 if np.abs(row_centres[expected] - hertz) < bin_hertz / 4 else 1)
    assert np.median(loudest) == pytest.approx(expected, abs=0.5)


@both_specs
def test_silence_is_the_floor(spec: SpectrogramSpec) -> None:
    columns = transform(spec, np.zeros((2, spec.clip_samples), np.float32))
    floor = (np.log(spec.power_floor) - spec.log_mean) / spec.log_scale
    np.testing.assert_allclose(columns, floor, rtol=1e-6)
    assert transform(spec, sounds(spec)).min() >= floor - 1e-6


@both_specs
def test_full_scale_white_noise_has_power_one(spec: SpectrogramSpec) -> None:
    """The scale is that of the docstring: power relative to the window's energy."""
    noise = np.random.default_rng(2).standard_normal((1, spec.sample_rate_hz)).astype(np.float32)
    power = np.exp(transform(spec, noise).astype(np.float64) * spec.log_scale + spec.log_mean) - spec.power_floor
    # The lowest bins of the 224 spec hold the constant part, whose noise is real: twice the variance, the same mean.
    assert power.mean() == pytest.approx(1.0, rel=0.02)


@both_specs
def test_time_order_and_gain(spec: SpectrogramSpec) -> None:
    samples = np.zeros((1, spec.clip_samples), np.float32)
    samples[0, : spec.clip_samples // 2] = sounds(spec)[0, : spec.clip_samples // 2]
    columns = transform(spec, samples)[0]
    assert columns[:, : spec.columns // 3].min() > columns[:, 2 * spec.columns // 3 :].max()
    louder = transform(spec, 2 * samples)[0, :, : spec.columns // 3]
    # Twice the amplitude is four times the power, but for values at the floor.
    assert np.median(louder - columns[:, : spec.columns // 3]) == pytest.approx(np.log(4) / spec.log_scale, abs=1e-4)


@both_specs
def test_stays_in_float32_under_autocast(spec: SpectrogramSpec) -> None:
    graph, samples = Spectrogram(spec), torch.from_numpy(sounds(spec))
    with torch.autocast("cpu", torch.bfloat16):
        columns = graph(samples)
        # The tower's precision is untouched outside the spectrogram.
        assert torch.nn.functional.linear(samples[:, :8], torch.ones(4, 8)).dtype == torch.bfloat16
    assert columns.dtype == torch.float32
    assert torch.equal(columns, graph(samples))


@both_specs
def test_basis_is_made_of_the_spec_alone(spec: SpectrogramSpec) -> None:
    basis = dft_basis(spec)
    assert basis.shape == (2 * spec.bins_per_row * spec.rows, 1, spec.window_samples)
    assert basis.dtype == torch.float32
    # It is no weight: checkpoints do not hold it, optimizers do not move it.
    assert Spectrogram(spec).state_dict() == {}
    assert list(Spectrogram(spec).parameters()) == []
    assert torch.all(basis[:, 0, 0] == 0)  # Hann starts at zero, and is periodic: it does not end there
    assert basis[:, 0, -1].abs().max() > 0
