"""Cut windows out of recordings and treat them as rooms, microphones and codecs would."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import SpectrogramSpec

Samples = NDArray[np.float32]

REVERBERATION_SECONDS = 0.35  # longest tail kept; the window is cut with as much lead, so that it starts wet
QUIET_RMS = 1e-3  # of a window in which nothing sounds


def window_at(samples: NDArray[np.int16], start: int, count: int) -> Samples:
    """``count`` samples from ``start``, silence beyond the ends of the recording; float32 in -1..1."""
    window = np.zeros(count, np.float32)
    first, last = max(start, 0), min(start + count, len(samples))
    if first < last:
        window[first - start : last - start] = samples[first:last].astype(np.float32) / 32767
    return window


def draw_window(rng: np.random.Generator, samples: NDArray[np.int16], count: int, *, tries: int = 4) -> Samples:
    """A random window in which something sounds: the first of some tries that is not quiet, else the loudest."""
    best, best_rms = np.zeros(count, np.float32), -1.0
    for _ in range(tries):
        slack = len(samples) - count
        start = int(rng.integers(0, slack + 1)) if slack > 0 else int(rng.integers(slack, 1))
        window = window_at(samples, start, count)
        rms = root_mean_square(window[count // 4 :])
        if rms > best_rms:
            best, best_rms = window, rms
        if rms > 0.3 * root_mean_square_of_recording(samples) and rms > QUIET_RMS:
            return window
    return best


def root_mean_square(samples: NDArray[np.floating]) -> float:
    """RMS of samples, 0..1."""
    return float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0


def root_mean_square_of_recording(samples: NDArray[np.int16]) -> float:
    """RMS of a whole recording from every 16th sample: a measure of loudness, at a sixteenth of the cost."""
    return root_mean_square(samples[::16].astype(np.float32) / 32767)


class SoundAugmenter:
    """Random pitch, equaliser, band limits, reverberation, coloured noise and level."""

    def __init__(self, spec: SpectrogramSpec) -> None:
        self.rate_hz = spec.sample_rate_hz
        self.count = spec.clip_samples
        self.lead = round(REVERBERATION_SECONDS * spec.sample_rate_hz)
        self.fft_size = 1 << int(np.ceil(np.log2(self.needed_samples + self.lead)))
        self.frequencies = np.fft.rfftfreq(self.fft_size, 1 / self.rate_hz)

    @property
    def needed_samples(self) -> int:
        """Samples that a window must have before augmentation: lead for the reverberation, and room for pitch."""
        return round((self.count + self.lead) * 1.08) + 2

    def __call__(self, rng: np.random.Generator, samples: Samples) -> Samples:
        """Augment ``needed_samples`` samples; gives ``clip_samples`` of them, float32 in -1..1."""
        dry = self._change_pitch(rng, samples)
        response = self._equaliser(rng) * self._reverberation(rng)
        wet = np.fft.irfft(np.fft.rfft(dry, self.fft_size) * response, self.fft_size)
        window = wet[self.lead : self.lead + self.count]
        level = 10 ** (rng.uniform(-38, -12) / 20)
        window = window * np.float32(level / max(root_mean_square(window), QUIET_RMS))  # silence stays silence
        noise_level = level * 10 ** (-rng.uniform(8, 50) / 20)
        window = window + self.coloured_noise(rng) * np.float32(noise_level)
        return np.clip(window, -1, 1).astype(np.float32)

    def coloured_noise(self, rng: np.random.Generator) -> Samples:
        """Noise of RMS 1 whose power falls with a random slope of 0 to 9 dB per octave."""
        half = self.fft_size // 2  # a power of two: the transform is the cost
        bins: NDArray[np.complex64] = rng.standard_normal((half + 1, 2), dtype=np.float32).view(np.complex64)[:, 0]
        slope = np.float32(rng.uniform(0, 1.5))
        shaped = bins * np.maximum(np.arange(half + 1, dtype=np.float32), 4) ** -slope
        noise = np.fft.irfft(shaped)[: self.count]
        return np.asarray(noise / root_mean_square(noise), dtype=np.float32)

    def _change_pitch(self, rng: np.random.Generator, samples: Samples) -> Samples:
        count = self.count + self.lead
        factor = np.exp(rng.uniform(-0.07, 0.07)) if rng.random() < 0.5 else 1.0
        if factor == 1.0:
            return samples[:count]
        stretched = np.interp(np.arange(count) * factor, np.arange(len(samples)), samples)
        return np.asarray(stretched, dtype=np.float32)

    def _equaliser(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Gains over frequency: a smooth random curve, and the band limits of microphones and codecs."""
        nodes = np.geomspace(60, self.rate_hz / 2, 7)
        decibels = rng.normal(0, 5, size=nodes.size)
        curve = np.interp(np.log(np.maximum(self.frequencies, 20)), np.log(nodes), decibels)
        if rng.random() < 0.5:
            cutoff = rng.choice([3400.0, 4000.0, 5500.0, 7000.0])
            curve = curve - 60 * np.clip((self.frequencies / cutoff - 0.97) / 0.06, 0, 1)
        if rng.random() < 0.4:
            cutoff = rng.uniform(60, 350)
            curve = curve - 24 * np.clip(1 - self.frequencies / cutoff, 0, 1)
        return np.asarray(10 ** (curve / 20), dtype=np.float32)

    def _reverberation(self, rng: np.random.Generator) -> NDArray[np.complex64] | float:
        """Transfer function of a room: the direct sound and a tail of decaying noise."""
        if rng.random() < 0.35:
            return 1.0
        decay_seconds = rng.uniform(0.1, 0.9)  # to -60 dB
        times = np.arange(self.lead, dtype=np.float32) / self.rate_hz
        tail = rng.standard_normal(size=self.lead, dtype=np.float32) * np.exp(times * np.float32(-6.9 / decay_seconds))
        tail[: int(rng.uniform(0.002, 0.02) * self.rate_hz)] = 0
        tail *= np.float32(rng.uniform(0.1, 0.9)) / np.sqrt(np.sum(tail**2))
        tail[0] = 1.0
        return np.asarray(np.fft.rfft(tail, self.fft_size))
