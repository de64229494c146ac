"""Player of notes with GUS patches, the format of FreePats."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from players import BENDS_PER_SECOND, RATE_HZ, SECONDS, Bend, Note, Samples, add_note

RINGING_SECONDS = 3.0  # of a drum: nobody damps it


class Patches:
    """Plays notes with a folder of GUS patches, ``Tone_000/NNN_*.pat`` and ``Drum_000/NNN_*.pat``."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.folder = folder
        self.loaded: dict[str, list[dict[str, Any]]] = {}

    def has(self, program: int, *, drums: bool) -> bool:
        """Whether there is a patch of this program or drum key."""
        return bool(self._samples(program, drums=drums))

    def play(self, program: int | None, notes: list[Note], bend: Bend = None) -> Samples:
        """Play with a program, or (None) the drum of every key, leaving out keys without a patch."""
        out = np.zeros(SECONDS * RATE_HZ, np.float32)
        curve = np.zeros(SECONDS * BENDS_PER_SECOND) if bend is None else bend
        for start, end, key, velocity in notes:
            samples = self._samples(key if program is None else program, drums=program is None)
            if not samples:
                continue
            frequency = 440 * 2 ** ((key - 69) / 12)
            fitting = [s for s in samples if s["low"] <= frequency <= s["high"]] or samples
            sample = min(fitting, key=lambda s: abs(np.log(s["root"] / frequency)))
            held_seconds = end - start if program is not None else RINGING_SECONDS
            ratio = 1.0 if program is None else frequency / sample["root"]
            times = np.arange(round((held_seconds + 0.6) * RATE_HZ)) / RATE_HZ
            semitones = np.interp((start + times) * BENDS_PER_SECOND, np.arange(len(curve)), curve)
            positions = np.cumsum(sample["rate"] / RATE_HZ * ratio * 2 ** (semitones / 12))
            add_note(out, start, _at(sample, positions) * _envelope(sample, times, held_seconds) * velocity)
        return out

    def _samples(self, number: int, *, drums: bool) -> list[dict[str, Any]]:
        pattern = f"{'Drum' if drums else 'Tone'}_000/{number:03d}_*.pat"
        if pattern not in self.loaded:
            self.loaded[pattern] = [s for path in sorted(self.folder.glob(pattern))[:1] for s in _read_patch(path)]
        return self.loaded[pattern]


def _read_patch(path: Path) -> list[dict[str, Any]]:
    """Samples of a GF1 patch: one instrument, one layer; loop points in samples, frequencies in Hz."""
    data = path.read_bytes()
    position, count = 129 + 63 + 47, data[129 + 63 + 6]
    samples = []
    for _ in range(count):
        head = struct.unpack_from("<7sBIIIHIIIhB6B6B3B3BB", data, position)
        size, first, last, rate, low, high, root = head[2:9]
        modes, width = head[-1], 2 if head[-1] & 1 else 1
        wave = np.frombuffer(data, f"<{'u' if modes & 2 else 'i'}{width}", size // width, position + 96).astype(float)
        wave = (wave - (2 ** (8 * width - 1) if modes & 2 else 0)) / 2 ** (8 * width - 1)
        if rate > RATE_HZ:  # nothing above the half of RATE_HZ may fold down
            bins = np.fft.rfft(wave)
            bins[round(len(bins) * 0.95 * RATE_HZ / rate) :] = 0
            wave = np.fft.irfft(bins, len(wave))
        loop = (first // width, last // width) if modes & 4 and last > first else None
        sample = {"wave": wave, "rate": rate, "low": low / 1000, "high": high / 1000, "root": root / 1000}
        samples.append({**sample, "loop": loop, "modes": modes, "rates": head[11:17], "levels": head[17:23]})
        position += 96 + size
    return samples


def _at(sample: dict[str, Any], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sample's wave at fractional positions: round its loop, or silence beyond its end."""
    if sample["loop"]:
        first, last = sample["loop"]
        positions = np.where(positions < last, positions, first + (positions - first) % (last - first))
    return np.asarray(np.interp(positions, np.arange(len(sample["wave"])), sample["wave"], right=0.0))


def _envelope(sample: dict[str, Any], times: NDArray[np.float64], held_seconds: float) -> NDArray[np.float64]:
    """Amplitude 0..1: three stages up to the level that is held, three more from the note's end."""
    if not sample["modes"] & 64:
        return np.clip((held_seconds + 0.05 - times) / 0.05, 0, 1)
    knots, levels = [0.0], [0.0]
    for stage in range(6):
        if stage == 3 and sample["modes"] & 32:
            held_level = float(np.interp(held_seconds, knots, levels))
            kept = [number for number, knot in enumerate(knots) if knot < held_seconds]
            knots = [knots[number] for number in kept] + [held_seconds]
            levels = [levels[number] for number in kept] + [held_level]
        rate, level = sample["rates"][stage], sample["levels"][stage] / 255
        speed = max((rate & 63) << (3 * (3 - (rate >> 6))), 1) / 47.4  # of the full scale a second
        knots.append(knots[-1] + abs(level - levels[-1]) / speed + 1e-4)
        levels.append(level)
    heights = np.interp(times, knots, levels)
    fade = np.clip((times[-1] - times) / 0.05, 0, 1)
    return np.asarray(np.where(heights > 0, 2.0 ** (6 * (heights - 1)), 0.0) * fade)
