"""Random tunes on freely available sampled instruments, as more sounds to train on.

    python reports/material/render_sounds.py OUT --soundfont FILE.sf2 ... --pack FOLDER ... --patches FOLDER ...

Where the files come from is in README.md beside this script. OUT has the layout of the labelled material
(``audio.csv`` beside ``audio/``, and empty lists of pictures and clips), for ``avol train --data OUT``.
"""

from __future__ import annotations

import argparse
import csv
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from instruments import HELD_OUT_PROGRAMS, KIT_CLASSES, LICENCES, PACK_LICENCE, VOICES, Voice
from patches import Patches
from players import BENDS_PER_SECOND, DRUM_BANK, RATE_HZ, SECONDS, Bend, Note, Pack, Samples, Soundfont

FEWEST_RMS = 0.003  # of a rendering; below it, the soundfont has no such instrument
LISTS = {
    "audio.csv": ["file", "class", "licence", "kind", "split", "source"],
    "images.csv": ["file", "class", "split"],
    "videos.csv": ["file", "class", "split", "video_id", "source_visible", "box_time_s", "box_x0y0x1y1_norm"],
}


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


def expression(rng: np.random.Generator, notes: list[Note]) -> Bend:
    """Vibrato that comes and goes, and now and then a note that starts flat; in semitones."""
    times = np.arange(SECONDS * BENDS_PER_SECOND) / BENDS_PER_SECOND
    swell = np.interp(times, np.arange(SECONDS + 1), rng.uniform(0, 1, SECONDS + 1))
    curve = rng.uniform(0.1, 0.45) * swell * np.sin(2 * np.pi * rng.uniform(4.5, 6.8) * times)
    for start, _, _, _ in notes:
        if rng.random() < 0.25:
            length, depth = rng.uniform(0.08, 0.15), rng.uniform(0.3, 1.5)
            curve -= depth * np.clip(1 - (times - start) / length, 0, 1) * (times >= start)
    return curve


@dataclass(frozen=True)
class Rendering:
    """One file to be."""

    label: str
    source: str
    number: int
    licence: str
    make: Callable[[], Samples]


def renderings(fonts: list[Soundfont], packs: list[Pack], patches: list[Patches], count: int) -> Iterator[Rendering]:
    """Every class with every source that has it, ``count`` times, and once with every further preset."""
    for label, voice in VOICES.items():
        for position, font in enumerate(fonts):
            yield from _with_soundfont(label, voice, font, position, count)
        for position, pack in enumerate(packs):
            for number in range(count if pack.instrument in voice.packs else 0):
                notes = tune(_generator(label, 100 + position, number), voice)
                yield Rendering(label, pack.name, number, PACK_LICENCE, partial(pack.play, notes))
        for position, folder in enumerate(patches):
            yield from _with_patches(label, voice, folder, 200 + position, count)


def _generator(label: str, source: int, number: int) -> np.random.Generator:
    return np.random.default_rng([sum(label.encode()), source, number])


def _with_soundfont(label: str, voice: Voice, font: Soundfont, position: int, count: int) -> Iterator[Rendering]:
    drums, held_out = bool(voice.drum_keys), HELD_OUT_PROGRAMS.get(font.name, ())
    programs = [0] if drums else [p for p in voice.programs if p not in held_out and font.has(voice.bank, p)]
    if not programs or (font.is_kit and label not in KIT_CLASSES):
        return
    presets = [(DRUM_BANK if drums else voice.bank, programs[number % len(programs)]) for number in range(count)]
    further = [preset for preset in voice.variants if font.has(*preset)]
    further += presets[:1] if voice.bends else []
    for number, (bank, program) in enumerate(presets + further):
        rng = _generator(label, position, number)
        notes = rhythm(rng, voice) if drums else tune(rng, voice)
        bend = expression(rng, notes) if voice.bends and number >= count else None
        yield Rendering(
            label, font.name, number, LICENCES.get(font.name, ""), partial(font.play, bank, program, notes, bend)
        )


def _with_patches(label: str, voice: Voice, folder: Patches, position: int, count: int) -> Iterator[Rendering]:
    keys = [key for key in voice.drum_keys if folder.has(key, drums=True)]
    programs = [program for program in voice.programs if folder.has(program, drums=False) and voice.bank == 0]
    for number in range(count if keys or programs else 0):
        rng = _generator(label, position, number)
        notes = rhythm(rng, voice) if keys else tune(rng, voice)
        bend = expression(rng, notes) if voice.bends and number % 2 else None
        program = None if keys else programs[number % len(programs)]
        yield Rendering(
            label, folder.name, number, LICENCES.get(folder.name, ""), partial(folder.play, program, notes, bend)
        )


def write_sound(path: Path, samples: Samples) -> None:
    """16-bit mono, peak at -3 dB."""
    scaled = samples * (0.7 * 32767 / np.abs(samples).max())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(scaled.astype("<i2").tobytes())


def write_lists(out: Path, sounds: list[dict[str, str]]) -> None:
    """The three lists; those of pictures and clips have a heading only."""
    for name, columns in LISTS.items():
        draft = out / f"{name}.part"
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(sounds if name == "audio.csv" else [])
        draft.replace(out / name)


def centroid_hz(samples: Samples) -> float:
    """Centre of the power spectrum."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(samples), 1 / RATE_HZ)) / np.sum(power))


def main() -> None:
    """Render everything; print class, source, number, RMS before scaling in dB and spectral centroid in Hz of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--soundfont", type=Path, nargs="*", default=[])
    parser.add_argument("--pack", type=Path, nargs="*", default=[])
    parser.add_argument("--patches", type=Path, nargs="*", default=[])
    parser.add_argument("--per-source", type=int, default=6, help="files per class and source (default: 6)")
    arguments = parser.parse_args()
    (arguments.out / "audio").mkdir(parents=True, exist_ok=True)
    fonts, packs = [Soundfont(path) for path in arguments.soundfont], [Pack(path) for path in arguments.pack]
    patches = [Patches(path) for path in arguments.patches]
    rows = []
    for item in renderings(fonts, packs, patches, arguments.per_source):
        samples = item.make()
        rms = float(np.sqrt(np.mean(np.square(samples))))
        if rms < FEWEST_RMS:
            print(f"{item.label} with {item.source}: silent, left out", file=sys.stderr)
            continue
        print(item.label, item.source, item.number, f"{20 * np.log10(rms):.1f} dB {centroid_hz(samples):.0f} Hz")
        name = f"{item.label}__{item.source}__{item.number}.wav"
        write_sound(arguments.out / "audio" / name, samples)
        facts = {"file": name, "class": item.label, "licence": item.licence, "source": item.source}
        rows.append({**facts, "kind": "synthesised_from_sampled_notes", "split": "train"})
    write_lists(arguments.out, rows)
    print(f"{len(rows)} files in {arguments.out}")


if __name__ == "__main__":
    main()
