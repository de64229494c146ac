"""The sounds of the drawn objects, synthesised in NumPy. The same seed gives the same sound at every sample rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Voice = Callable[[np.random.Generator, float, int], Samples]

NOISE_RATE_HZ = 16_000  # noise is drawn at this rate, whatever the rate asked for, so that it is the same noise
MAJOR_PENTATONIC = (0, 2, 4, 7, 9, 12)


def times(seconds: float, rate_hz: int) -> Samples:
    """Seconds of every sample."""
    return np.arange(round(seconds * rate_hz), dtype=np.float32) / np.float32(rate_hz)


def noise(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """White noise of RMS 1 up to half :data:`NOISE_RATE_HZ`."""
    count = round(seconds * rate_hz)
    drawn = rng.standard_normal(math.ceil(seconds * NOISE_RATE_HZ) + 2, dtype=np.float32)
    if rate_hz == NOISE_RATE_HZ:
        return drawn[:count]
    positions = np.arange(count) * (NOISE_RATE_HZ / rate_hz)
    resampled: Samples = np.interp(positions, np.arange(len(drawn)), drawn).astype(np.float32)
    return resampled


def partials(
    seconds: float, rate_hz: int, frequencies: Sequence[float], levels: Sequence[float], decays: Sequence[float]
) -> Samples:
    """Decaying sines; ``decays`` per second; those beyond the Nyquist frequency are left out."""
    t = times(seconds, rate_hz)
    tone = np.zeros_like(t)
    for frequency, level, decay in zip(frequencies, levels, decays, strict=True):
        if frequency < 0.47 * rate_hz:
            tone += np.float32(level) * np.exp(t * np.float32(-decay)) * np.sin(t * np.float32(math.tau * frequency))
    return tone


def gate(seconds: float, rate_hz: int, attack_seconds: float, release_seconds: float) -> Samples:
    """Rises from 0 to 1 and falls back to 0 at the end."""
    t = times(seconds, rate_hz)
    rise = np.minimum(t / np.float32(attack_seconds), 1)
    fall = np.minimum((np.float32(seconds) - t) / np.float32(release_seconds), 1)
    envelope: Samples = np.maximum(np.minimum(rise, fall), 0)
    return envelope


def sequence(seconds: float, rate_hz: int, notes: list[tuple[float, Samples]]) -> Samples:
    """Notes added at their onsets in seconds; what is beyond the end is cut off."""
    track = np.zeros(round(seconds * rate_hz), np.float32)
    for onset_seconds, note in notes:
        start = round(onset_seconds * rate_hz)
        end = min(start + len(note), len(track))
        if start < end:
            track[start:end] += note[: end - start]
    return track


def onsets(rng: np.random.Generator, seconds: float, shortest: float, longest: float) -> list[float]:
    """Onsets in seconds from the start on, a steady beat with a little play."""
    beat = rng.uniform(shortest, longest)
    count = math.ceil(seconds / beat)
    return [max(0.0, k * beat + rng.uniform(-0.06, 0.06) * beat) for k in range(count)]


def play_guitar(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Plucked strings: harmonics that decay the faster the higher, with a comb from where the string is plucked."""
    base, pluck = rng.uniform(130, 260), rng.uniform(0.15, 0.3)
    numbers = np.arange(1, 13)
    levels, decays = np.abs(np.sin(math.pi * pluck * numbers)) / numbers, 2.0 + 0.9 * numbers
    notes = []
    for onset in onsets(rng, seconds, 0.2, 0.34):
        pitch = base * 2 ** (rng.choice(MAJOR_PENTATONIC) / 12)
        notes.append((onset, partials(1.2, rate_hz, list(pitch * numbers), list(levels), list(decays))))
    return sequence(seconds, rate_hz, notes)


def play_bell(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Strikes of a bell: inharmonic partials, hum to nominal and above."""
    base = rng.uniform(520, 900)
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.52, 3.01, 4.07, 5.2])
    levels, decays = np.array([0.5, 0.8, 0.6, 0.35, 1.0, 0.5, 0.45, 0.35, 0.25]), 1.0 + 0.8 * ratios
    strike = partials(2.0, rate_hz, list(base * ratios), list(levels), list(decays))
    return sequence(seconds, rate_hz, [(onset, strike) for onset in onsets(rng, seconds, 0.5, 0.85)])


def play_drum(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Drum beats: a thud that falls in pitch and a rattle of noise."""
    low, rattle = rng.uniform(70, 110), rng.uniform(0.25, 0.5)
    t = times(0.3, rate_hz)
    phase = np.float32(math.tau * low) * (t + np.float32(0.06) * (1 - np.exp(-t * 25)))
    notes = []
    for number, onset in enumerate(onsets(rng, seconds, 0.16, 0.28)):
        accent = 1.0 if number % 4 == 0 else rng.uniform(0.4, 0.8)
        skin = np.sin(phase) * np.exp(-t * 14) + rattle * noise(rng, 0.3, rate_hz) * np.exp(-t * 28)
        notes.append((onset, np.float32(accent) * skin))
    return sequence(seconds, rate_hz, notes)


def play_horn(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Brass by frequency modulation: the louder, the brighter (Chowning 1973)."""
    base, bright = rng.uniform(230, 400), rng.uniform(2.5, 4.0)
    notes = []
    for onset in onsets(rng, seconds, 0.34, 0.6):
        pitch, length = base * 2 ** (rng.choice(MAJOR_PENTATONIC) / 12), rng.uniform(0.3, 0.5)
        t, loud = times(length, rate_hz), gate(length, rate_hz, 0.05, 0.08)
        angle = math.tau * pitch * t + 0.15 * np.sin(math.tau * 5.5 * t)
        notes.append((onset, loud * np.sin(angle + bright * loud * np.sin(angle)).astype(np.float32)))
    return sequence(seconds, rate_hz, notes)


def play_siren(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """A tone that wails up and down without a break."""
    low, span, wail_hz, start = rng.uniform(500, 700), rng.uniform(2.0, 2.6), rng.uniform(0.8, 1.8), rng.uniform()
    t = times(seconds, rate_hz).astype(np.float64)
    pitch = low * span ** (0.5 - 0.5 * np.cos(math.tau * (wail_hz * t + start)))
    angle = math.tau * np.cumsum(pitch) / rate_hz
    wave = np.sin(angle) + 0.4 * np.sin(2 * angle) + 0.25 * np.sin(3 * angle)
    return wave.astype(np.float32)


def play_bee(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """A buzz: many harmonics of a wing beat that wavers in pitch and loudness."""
    base, drift_hz, start = rng.uniform(170, 240), rng.uniform(0.8, 2.0), rng.uniform(0, 1, 2)
    t = times(seconds, rate_hz).astype(np.float64)
    pitch = base * (1 + 0.06 * np.sin(math.tau * (drift_hz * t + start[0])) + 0.03 * np.sin(math.tau * 7.3 * t))
    angle = (math.tau * np.cumsum(pitch) / rate_hz).astype(np.float32)
    wave = sum((np.sin(k * angle) / np.float32(k**0.6) for k in range(1, 16)), np.zeros(len(t), np.float32))
    sound: Samples = wave * (1 + 0.4 * np.sin(math.tau * (3.1 * t + start[1]))).astype(np.float32)
    return sound


def play_clock(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Tick and tock: short clicks that ring at two high pitches."""
    high = rng.uniform(2200, 3200)
    clicks = []
    for pitch in (high, 0.75 * high):
        ring_out = partials(0.06, rate_hz, [pitch, 1.51 * pitch, 2.13 * pitch], [1, 0.7, 0.4], [90, 130, 160])
        clicks.append(ring_out + 0.5 * noise(rng, 0.06, rate_hz) * np.exp(-times(0.06, rate_hz) * 500))
    beats = onsets(rng, seconds, 0.11, 0.2)
    return sequence(seconds, rate_hz, [(onset, clicks[number % 2]) for number, onset in enumerate(beats)])


def play_bird(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Chirps: quick glides between two high pitches."""
    centre, glide, length = (
        rng.uniform(3000, 4500),
        rng.uniform(0.25, 0.45) * rng.choice((-1, 1)),
        rng.uniform(0.06, 0.11),
    )
    t = times(length, rate_hz)
    rise = t - t * t / np.float32(2 * length)  # the integral of a glide that slows down
    chirp = gate(length, rate_hz, 0.012, 0.03) * np.sin(math.tau * centre * (t * (1 - glide / 2) + glide * rise))
    return sequence(
        seconds, rate_hz, [(onset, chirp) for onset in onsets(rng, seconds, 0.13, 0.22) if rng.random() < 0.85]
    )


VOICES: dict[str, Voice] = {
    "guitar": play_guitar,
    "bell": play_bell,
    "drum": play_drum,
    "horn": play_horn,
    "siren": play_siren,
    "bee": play_bee,
    "clock": play_clock,
    "bird": play_bird,
}


def play(kind: str, rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """``seconds`` of the sound of ``kind``, float32 of RMS 1, faded in and out so that it starts and stops cleanly."""
    wave = VOICES[kind](rng, seconds, rate_hz) * gate(seconds, rate_hz, 0.01, 0.06)
    return (wave / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-6)).astype(np.float32)
