"""Random tunes on freely available sampled instruments, as more sounds to train on.

    python reports/material/render_sounds.py OUT --soundfont FILE.sf2 ... --pack FOLDER ...

Where the files come from is in README.md beside this script. OUT has the layout of the labelled material
(``audio.csv`` beside ``audio/``, and empty lists of pictures and clips), for ``avol train --data OUT``.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from instruments import VOICES, Voice
from numpy.typing import NDArray

RATE_HZ = 22_050
SECONDS = 10
FEWEST_RMS = 0.003  # of a rendering; below it, the soundfont has no such instrument
DRUM_BANK = 128
Samples = NDArray[np.float32]
# Start and end in seconds, MIDI pitch or drum key, velocity 0..1.
Note = tuple[float, float, int, float]


def tune(rng: np.random.Generator, voice: Voice) -> list[Note]:
    """A random walk through a part of the range, in one manner: short or long notes, single ones or chords."""
    notes: list[Note] = []
    centre = rng.uniform(voice.lowest + 5, voice.highest - 5)
    scale = rng.choice([0, 2, 4, 5, 7, 9, 11], size=5, replace=False) + rng.integers(12)
    pitches = [p for p in range(voice.lowest, voice.highest + 1) if p % 12 in scale % 12 and abs(p - centre) <= 10]
    position, time = int(rng.integers(len(pitches))), float(rng.uniform(0, 0.3))
    beat, legato, loudness = rng.uniform(0.12, 0.9), rng.uniform(0.3, 1.2), rng.uniform(0.45, 0.95)
    strum = rng.uniform(0, 0.06)
    while time < SECONDS - 0.1:
        length = beat * rng.choice([0.5, 1, 1, 2])
        count = int(rng.integers(2, 5)) if voice.chords and rng.random() < 0.5 else 1
        if rng.random() < 0.9:  # else a rest
            velocity = float(np.clip(loudness + rng.normal(0, 0.1), 0.2, 1))
            for number in range(count):
                pitch = pitches[min(position + 2 * number, len(pitches) - 1)]
                start = time + strum * number
                notes.append((start, start + length * legato, pitch, velocity))
        position = int(np.clip(position + rng.integers(-3, 4), 0, len(pitches) - 1))
        time += length
    return notes


def rhythm(rng: np.random.Generator, voice: Voice) -> list[Note]:
    """A bar of random strokes on the keys of a drum kit, repeated with small changes."""
    steps, step_seconds = int(rng.choice([8, 12, 16])), rng.uniform(0.08, 0.25)
    density = rng.uniform(0.25, 0.8)
    bar = [(step, int(rng.choice(voice.drum_keys))) for step in range(steps) if rng.random() < density] or [(0, 0)]
    bar = [(step, key or voice.drum_keys[0]) for step, key in bar]
    notes = []
    for start in np.arange(0, SECONDS, steps * step_seconds):
        for step, key in bar:
            if rng.random() < 0.92:
                time = float(start + step * step_seconds)
                notes.append((time, time + 0.3, key, float(np.clip(rng.normal(0.75, 0.15), 0.2, 1))))
    return notes


class Soundfont:
    """Plays notes with the presets of a soundfont."""

    def __init__(self, path: Path) -> None:
        import tinysoundfont

        self.name = path.stem
        self.synth = tinysoundfont.Synth(samplerate=RATE_HZ, gain=-6)
        self.font = self.synth.sfload(str(path))

    def play(self, program: int, notes: list[Note], *, drums: bool) -> Samples:
        """float32 mono."""
        synth = self.synth
        synth.notes_off()
        synth.sounds_off()
        if drums:
            synth.program_select(9, self.font, DRUM_BANK, 0, True)
        else:
            synth.program_select(0, self.font, 0, program, False)
        channel = 9 if drums else 0
        events = [(start, 1, key, velocity) for start, _, key, velocity in notes]
        events += [(end, 0, key, 0.0) for _, end, key, _ in notes]
        chunks, now = [], 0
        for time, on, key, velocity in sorted(events):
            until = min(round(time * RATE_HZ), SECONDS * RATE_HZ)
            if until > now:
                chunks.append(self._generate(until - now))
                now = until
            if on:
                synth.noteon(channel, key, round(127 * velocity))
            else:
                synth.noteoff(channel, key)
        chunks.append(self._generate(SECONDS * RATE_HZ - now))
        return np.concatenate(chunks)

    def _generate(self, count: int) -> Samples:
        stereo = np.frombuffer(bytes(self.synth.generate(count)), dtype=np.float32)
        return stereo.reshape(-1, 2).mean(axis=1)


class Pack:
    """Plays notes with recorded ones: the nearest recording, resampled to the pitch."""

    SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.notes = {}
        for path in sorted(folder.rglob("*.mp3")):
            if match := re.fullmatch(r"([A-G])(s|#)?(\d)", path.stem):
                pitch = self.SEMITONES[match[1]] + (match[2] is not None) + 12 * (int(match[3]) + 1)
                self.notes[pitch] = _decode(path)

    def play(self, notes: list[Note]) -> Samples:
        """float32 mono."""
        out = np.zeros(SECONDS * RATE_HZ, np.float32)
        for start, end, key, velocity in notes:
            nearest = min(self.notes, key=lambda pitch: abs(pitch - key))
            recording = self.notes[nearest]
            step = 2 ** ((key - nearest) / 12)
            count = min(int(len(recording) / step), round((end - start + 0.15) * RATE_HZ))
            played = np.interp(np.arange(count) * step, np.arange(len(recording)), recording) * velocity
            release = min(count, round(0.1 * RATE_HZ))
            played[count - release :] *= np.linspace(1, 0, release)
            first = round(start * RATE_HZ)
            part = out[first : first + count]
            part += played[: len(part)].astype(np.float32)
        return out


def _decode(path: Path) -> Samples:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return np.asarray(samples[loud[0] :], dtype=np.float32)


@dataclass(frozen=True)
class Rendering:
    """One file to be."""

    label: str
    source: str
    number: int
    make: Callable[[], Samples]


def renderings(soundfonts: list[Soundfont], packs: list[Pack], per_source: int) -> Iterator[Rendering]:
    """Every class with every source that has it."""
    for label, voice in VOICES.items():
        for number in range(per_source):
            for position, font in enumerate(soundfonts):
                rng = np.random.default_rng([sum(label.encode()), position, number])
                notes = rhythm(rng, voice) if voice.drum_keys else tune(rng, voice)
                program = 0 if voice.drum_keys else voice.programs[number % len(voice.programs)]
                drums = bool(voice.drum_keys)
                yield Rendering(
                    label, font.name, number, lambda f=font, p=program, n=notes, d=drums: f.play(p, n, drums=d)
                )
            for position, pack in enumerate(packs):
                if any(pack.name == f"tonejs-instrument-{name}-mp3" for name in voice.packs):
                    rng = np.random.default_rng([sum(label.encode()), 100 + position, number])
                    notes = tune(rng, voice)
                    yield Rendering(label, pack.name, number, lambda p=pack, n=notes: p.play(n))


def write(path: Path, samples: Samples) -> None:
    """16-bit mono, peak at -3 dB."""
    scaled = samples * (0.7 * 32767 / np.abs(samples).max())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(scaled.astype("<i2").tobytes())


def main() -> None:
    """Render everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--soundfont", type=Path, nargs="*", default=[])
    parser.add_argument("--pack", type=Path, nargs="*", default=[])
    parser.add_argument("--per-source", type=int, default=6, help="files per class and source (default: 6)")
    arguments = parser.parse_args()
    (arguments.out / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    fonts = [Soundfont(path) for path in arguments.soundfont]
    for item in renderings(fonts, [Pack(path) for path in arguments.pack], arguments.per_source):
        samples = item.make()
        rms = float(np.sqrt(np.mean(np.square(samples))))
        if rms < FEWEST_RMS:
            print(f"{item.label} with {item.source}: silent, left out", file=sys.stderr)
            continue
        name = f"{item.label}__{item.source}__{item.number}.wav"
        write(arguments.out / "audio" / name, samples)
        rows.append(
            {
                "file": name,
                "class": item.label,
                "split": "train",
                "kind": "synthesised_from_sampled_notes",
                "source": item.source,
            }
        )
    lists = {
        "audio.csv": ["file", "class", "split", "kind", "source"],
        "images.csv": ["file", "class", "split"],
        "videos.csv": ["file", "class", "split", "video_id", "source_visible", "box_time_s", "box_x0y0x1y1_norm"],
    }
    for list_name, columns in lists.items():
        with (arguments.out / list_name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows if list_name == "audio.csv" else [])
    print(f"{len(rows)} files in {arguments.out}")


if __name__ == "__main__":
    main()
