"""Players of notes: soundfonts and folders of recorded notes. All give float32 mono at ``RATE_HZ``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
from instruments import HELD_OUT_NOTES
from numpy.typing import NDArray

RATE_HZ = 22_050
SECONDS = 10
BENDS_PER_SECOND = 100
DRUM_BANK = 128
Samples = NDArray[np.float32]
# Start and end in seconds, MIDI pitch or drum key, velocity 0..1.
Note = tuple[float, float, int, float]
# Semitones to add to all that sounds, ``BENDS_PER_SECOND`` of them; None: none.
Bend = NDArray[np.float64] | None


class Soundfont:
    """Plays notes with the presets of a soundfont."""

    def __init__(self, path: Path) -> None:
        import tinysoundfont  # type: ignore[import-untyped]

        self.name = path.stem
        self.synth = tinysoundfont.Synth(samplerate=RATE_HZ, gain=-6)
        self.font = self.synth.sfload(str(path))
        # A soundfont that is one drum kit has it where others have the piano.
        self.is_kit = not self.has(DRUM_BANK, 0)

    def has(self, bank: int, program: int) -> bool:
        """Whether there is such a preset."""
        return bool(self.synth.sfpreset_name(self.font, bank, program))

    def play(self, bank: int, program: int, notes: list[Note], bend: Bend = None) -> Samples:
        """Play on the drum channel if the bank is the drums' or the soundfont is a kit."""
        synth, drums = self.synth, bank == DRUM_BANK
        synth.notes_off()
        synth.sounds_off()
        self._generate(RATE_HZ // 2)  # what fades of the last tune is not heard in this one
        channel = 9 if drums else 0
        synth.program_select(channel, self.font, 0 if self.is_kit else bank, program, drums)
        synth.pitchbend(channel, 8192)
        events = [(start, 1, key, velocity) for start, _, key, velocity in notes]
        events += [(end, 0, key, 0.0) for _, end, key, _ in notes]
        if bend is not None:
            events += [(number / BENDS_PER_SECOND, 2, 0, float(value)) for number, value in enumerate(bend)]
        chunks, now = [], 0
        for time, kind, key, value in sorted(events):
            until = min(round(time * RATE_HZ), SECONDS * RATE_HZ)
            if until > now:
                chunks.append(self._generate(until - now))
                now = until
            if kind == 1:
                synth.noteon(channel, key, round(127 * value))
            elif kind == 0:
                synth.noteoff(channel, key)
            else:
                synth.pitchbend(channel, int(np.clip(8192 + 4096 * value, 0, 16383)))
        chunks.append(self._generate(SECONDS * RATE_HZ - now))
        return np.concatenate(chunks)

    def _generate(self, count: int) -> Samples:
        stereo = np.frombuffer(bytes(self.synth.generate(count)), dtype=np.float32)
        return np.asarray(stereo.reshape(-1, 2).mean(axis=1), dtype=np.float32)


class Pack:
    """Plays notes with recorded ones: the nearest recording, resampled to the pitch."""

    SEMITONES: ClassVar = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.instrument = folder.name.removeprefix("tonejs-instrument-").removesuffix("-mp3")
        self.notes = {}
        for path in sorted(folder.rglob("*.mp3")):
            match = re.fullmatch(r"([A-G])(s|#)?(\d)", path.stem)
            if match and path.stem not in HELD_OUT_NOTES.get(self.instrument, ()):
                pitch = self.SEMITONES[match[1]] + (match[2] is not None) + 12 * (int(match[3]) + 1)
                self.notes[pitch] = _decode(path)

    def play(self, notes: list[Note]) -> Samples:
        """Play with a release of 0.1 s."""
        out = np.zeros(SECONDS * RATE_HZ, np.float32)
        for start, end, key, velocity in notes:
            nearest = min(self.notes, key=lambda pitch: abs(pitch - key))
            recording = self.notes[nearest]
            step = 2 ** ((key - nearest) / 12)
            count = min(int(len(recording) / step), round((end - start + 0.15) * RATE_HZ))
            played = np.interp(np.arange(count) * step, np.arange(len(recording)), recording) * velocity
            release = min(count, round(0.1 * RATE_HZ))
            played[count - release :] *= np.linspace(1, 0, release)
            add_note(out, start, played)
        return out


def add_note(out: Samples, start_seconds: float, played: NDArray[np.float64]) -> None:
    """Mix a note in, up to the end of the tune."""
    first = round(start_seconds * RATE_HZ)
    part = out[first : first + len(played)]
    part += played[: len(part)].astype(np.float32)


def _decode(path: Path) -> Samples:
    """A recorded note from where it reaches a hundredth of its peak."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return np.asarray(samples[loud[0] :], dtype=np.float32)
