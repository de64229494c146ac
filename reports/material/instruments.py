"""Which sampled instruments play which class: General MIDI programs and keys (0-based), sample packs, pitch ranges.

Also what may not be played, because the test part of the labelled material holds the same recordings.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """How a class is played.

    Attributes:
        programs: General MIDI programs; empty for percussion.
        lowest, highest: MIDI pitches of the instrument's range.
        chords: whether several notes sound at a time.
        drum_keys: keys of the drum channel, for percussion.
        packs: names of sample packs (``tonejs-instrument-NAME-mp3``).
        bank: of the programs.
        bends: whether players of the instrument bend its pitch or play vibrato.
        variants: further presets, each played once where a soundfont has it: bank and program.
    """

    programs: tuple[int, ...] = ()
    lowest: int = 48
    highest: int = 84
    chords: bool = False
    drum_keys: tuple[int, ...] = ()
    packs: tuple[str, ...] = ()
    bank: int = 0
    bends: bool = False
    variants: tuple[tuple[int, int], ...] = ()


KITS = ((128, 8), (128, 16), (128, 32), (128, 40))  # room, power, jazz, brush
ORCHESTRA_KIT = (128, 48)  # timpani on the keys of toms, hi-hats and cymbals

VOICES = {
    "accordion": Voice((21,), 53, 86, chords=True, variants=((8, 21),)),
    "acoustic_guitar": Voice(
        (24, 25), 40, 79, chords=True, packs=("guitar-acoustic", "guitar-nylon"), variants=((8, 25),)
    ),
    "bagpipes": Voice((109,), 58, 72, bends=True),
    "banjo": Voice((105,), 50, 79, chords=True),
    "bass_guitar": Voice((32, 33, 34, 36), 28, 55, packs=("bass-electric",)),
    "bassoon": Voice((70,), 34, 70, packs=("bassoon",), bends=True),
    "cello": Voice((42,), 36, 74, packs=("cello",), bends=True),
    "clarinet": Voice((71,), 50, 88, packs=("clarinet",), bends=True),
    "concertina": Voice((23,), 55, 86, chords=True),
    "double_bass": Voice((43,), 28, 60, packs=("contrabass",), bends=True),
    "dulcimer": Voice((15,), 50, 84, chords=True),
    "electric_guitar": Voice(
        (26, 27, 28, 29, 30), 40, 82, chords=True, packs=("guitar-electric",), bends=True, variants=((8, 28), (8, 26))
    ),
    "flute": Voice((73,), 60, 93, packs=("flute",), bends=True),
    "french_horn": Voice((60,), 41, 77, packs=("french-horn",), bends=True),
    "harmonica": Voice((22,), 60, 91, chords=True, bends=True),
    "harmonium": Voice((20,), 48, 84, chords=True, packs=("harmonium",)),
    "harp": Voice((46,), 36, 96, chords=True, packs=("harp",)),
    "harpsichord": Voice((6,), 36, 84, chords=True, variants=((8, 6),)),
    "mandolin": Voice((25,), 55, 88, chords=True, bank=16),
    "marimba_xylophone": Voice((12, 13), 53, 96, packs=("xylophone",)),
    "oboe": Voice((68,), 58, 88, bends=True),
    "ocarina": Voice((79,), 65, 89, bends=True),
    "organ": Voice((16, 17, 19), 36, 84, chords=True, packs=("organ",), variants=((8, 19), (8, 16))),
    "panpipe": Voice((75,), 60, 91, bends=True),
    "piano": Voice((0, 1, 2), 33, 96, chords=True, packs=("piano",)),
    "recorder": Voice((74,), 60, 91, bends=True),
    "saxophone": Voice((64, 65, 66, 67), 44, 80, packs=("saxophone",), bends=True),
    "shehnai": Voice((111,), 58, 79, bends=True),
    "sitar": Voice((104,), 48, 77, bends=True),
    "steelpan": Voice((114,), 55, 84),
    "timpani": Voice((47,), 38, 57),
    "trombone": Voice((57,), 40, 70, packs=("trombone",), bends=True),
    "trumpet": Voice((56,), 54, 84, packs=("trumpet",), bends=True),
    "tuba": Voice((58,), 28, 58, packs=("tuba",), bends=True),
    "vibraphone": Voice((11,), 53, 89),
    "viola": Voice((41,), 48, 81, bends=True),
    "violin_fiddle": Voice((40, 110), 55, 93, packs=("violin",), bends=True, variants=((8, 40),)),
    "bass_drum": Voice(drum_keys=(35, 36), variants=(*KITS, ORCHESTRA_KIT)),
    "bongo": Voice(drum_keys=(60, 61)),
    "cabasa": Voice(drum_keys=(69,)),
    "castanets": Voice(drum_keys=(85,)),
    "conga": Voice(drum_keys=(62, 63, 64)),
    "cowbell": Voice(drum_keys=(56,)),
    "cymbal": Voice(drum_keys=(49, 51, 55, 57, 59), variants=KITS),
    "drum_kit": Voice(drum_keys=(36, 38, 42, 46, 41, 45, 48, 49), variants=KITS),
    "guiro": Voice(drum_keys=(73, 74)),
    "maraca": Voice(drum_keys=(70,)),
    "snare_drum": Voice(drum_keys=(38, 40, 37), variants=(*KITS, ORCHESTRA_KIT)),
    "tambourine": Voice(drum_keys=(54,)),
    "triangle": Voice(drum_keys=(80, 81)),
    "wood_block": Voice(drum_keys=(76, 77)),
}

# Classes that a soundfont of one drum kit plays: its other keys are not General MIDI's.
KIT_CLASSES = ("bass_drum", "cowbell", "cymbal", "drum_kit", "snare_drum", "tambourine")

# Of the test part: the very notes of these packs (copies of them, or the recordings that they were cut from),
HELD_OUT_NOTES = {
    "bass-electric": ("E4",),
    "piano": ("D1", "A2", "Ds4", "Cs1", "A4", "F2", "Cs3", "C5", "E2"),
    "saxophone": ("E4", "As3", "Gs4"),
    "violin": ("C4", "E5", "C5", "A6"),
}
# and programs of soundfonts: FluidR3's clarinet, fiddle and basses, and the Splendid Grand piano.
HELD_OUT_PROGRAMS = {"MuseScore_General_Lite": (0, 1, 2, 33, 34, 71, 110)}

PACK_LICENCE = "CC BY 3.0 (samples of tonejs-instruments)"
LICENCES = {
    "TimGM6mb": "GPL-2",
    "sf_GMbank": "public domain (its own licence field)",
    "MuseScore_General_Lite": "MIT, parts public domain or CC0",
    "Black_Pearl_4_LV2": "CC BY-SA 3.0",
    "Red_Zeppelin_4_LV2": "CC BY-SA 3.0",
    "freepats": "GPL-2 or later, with an exception for compositions",
}
