"""Which sampled instruments play which class: General MIDI programs and keys (0-based), sample packs, pitch ranges."""

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
    """

    programs: tuple[int, ...] = ()
    lowest: int = 48
    highest: int = 84
    chords: bool = False
    drum_keys: tuple[int, ...] = ()
    packs: tuple[str, ...] = ()


VOICES = {
    "accordion": Voice((21,), 53, 86, chords=True),
    "acoustic_guitar": Voice((24, 25), 40, 79, chords=True, packs=("guitar-acoustic", "guitar-nylon")),
    "bagpipes": Voice((109,), 58, 72),
    "banjo": Voice((105,), 50, 79, chords=True),
    "bass_guitar": Voice((32, 33, 34, 36), 28, 55, packs=("bass-electric",)),
    "bassoon": Voice((70,), 34, 70, packs=("bassoon",)),
    "cello": Voice((42,), 36, 74, packs=("cello",)),
    "clarinet": Voice((71,), 50, 88, packs=("clarinet",)),
    "concertina": Voice((23,), 55, 86, chords=True),
    "double_bass": Voice((43,), 28, 60, packs=("contrabass",)),
    "dulcimer": Voice((15,), 50, 84, chords=True),
    "electric_guitar": Voice((26, 27, 28, 29, 30), 40, 82, chords=True, packs=("guitar-electric",)),
    "flute": Voice((73,), 60, 93, packs=("flute",)),
    "french_horn": Voice((60,), 41, 77, packs=("french-horn",)),
    "harmonica": Voice((22,), 60, 91, chords=True),
    "harmonium": Voice((20,), 48, 84, chords=True, packs=("harmonium",)),
    "harp": Voice((46,), 36, 96, chords=True, packs=("harp",)),
    "harpsichord": Voice((6,), 36, 84, chords=True),
    "marimba_xylophone": Voice((12, 13), 53, 96, packs=("xylophone",)),
    "oboe": Voice((68,), 58, 88),
    "ocarina": Voice((79,), 65, 89),
    "organ": Voice((16, 17, 19), 36, 84, chords=True, packs=("organ",)),
    "panpipe": Voice((75,), 60, 91),
    "piano": Voice((0, 1, 2), 33, 96, chords=True, packs=("piano",)),
    "recorder": Voice((74,), 60, 91),
    "saxophone": Voice((64, 65, 66, 67), 44, 80, packs=("saxophone",)),
    "shehnai": Voice((111,), 58, 79),
    "sitar": Voice((104,), 48, 77),
    "steelpan": Voice((114,), 55, 84),
    "timpani": Voice((47,), 38, 57),
    "trombone": Voice((57,), 40, 70, packs=("trombone",)),
    "trumpet": Voice((56,), 54, 84, packs=("trumpet",)),
    "tuba": Voice((58,), 28, 58, packs=("tuba",)),
    "vibraphone": Voice((11,), 53, 89),
    "viola": Voice((41,), 48, 81),
    "violin_fiddle": Voice((40, 110), 55, 93, packs=("violin",)),
    "bass_drum": Voice(drum_keys=(35, 36)),
    "bongo": Voice(drum_keys=(60, 61)),
    "cabasa": Voice(drum_keys=(69,)),
    "castanets": Voice(drum_keys=(85,)),
    "conga": Voice(drum_keys=(62, 63, 64)),
    "cowbell": Voice(drum_keys=(56,)),
    "cymbal": Voice(drum_keys=(49, 51, 55, 57, 59)),
    "drum_kit": Voice(drum_keys=(36, 38, 42, 46, 41, 45, 48, 49)),
    "guiro": Voice(drum_keys=(73, 74)),
    "maraca": Voice(drum_keys=(70,)),
    "snare_drum": Voice(drum_keys=(38, 40, 37)),
    "tambourine": Voice(drum_keys=(54,)),
    "triangle": Voice(drum_keys=(80, 81)),
    "wood_block": Voice(drum_keys=(76, 77)),
}
