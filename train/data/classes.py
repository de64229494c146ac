"""What may be held against what: classes that look or sound alike are neither true nor false pairs of each other."""

from __future__ import annotations

import csv

import numpy as np
from numpy.typing import NDArray

# A photograph of a `guitar` may be heard as any of its kinds, and so on. Within a family two different classes are
# left unknown, except where MATCHES says that they do belong together.
FAMILIES: tuple[frozenset[str], ...] = (
    frozenset({"guitar", "acoustic_guitar", "electric_guitar", "bass_guitar"}),
    frozenset({"mandolin", "banjo", "ukulele"}),
    frozenset({"violin_fiddle", "viola", "bowed_string_instrument", "erhu"}),
    frozenset({"cello", "double_bass", "bowed_string_instrument", "viola"}),
    frozenset({"drum", "drum_kit", "snare_drum", "bass_drum", "cymbal", "timpani"}),
    frozenset({"drum", "bongo", "conga", "tabla", "djembe", "dhol", "mridangam"}),
    frozenset({"accordion", "concertina", "melodica", "harmonium", "harmonica"}),
    frozenset({"piano", "clavichord", "harpsichord", "electronic_keyboard"}),
    frozenset({"trumpet", "cornet"}),
    frozenset({"tuba", "euphonium", "trombone", "french_horn"}),
    frozenset({"flute", "recorder", "ocarina", "panpipe"}),
    frozenset({"clarinet", "oboe"}),
    frozenset({"marimba_xylophone", "vibraphone", "steelpan"}),
    frozenset({"dulcimer", "santoor"}),
    frozenset({"sitar", "tanpura", "sarangi"}),
    frozenset({"maraca", "cabasa"}),
    frozenset({"rain", "waves_surf", "stream", "toilet_flush"}),
    frozenset({"speech", "child_speech_kid_speaking", "speech_singing_still_image", "baby_laughter", "music_dance"}),
    frozenset({"gunshot_gunfire", "machine_gun", "artillery_fire", "fireworks", "thunder"}),
    frozenset({"hammer", "hitting_object", "chopping_wood", "chopping_food"}),
)
MATCHES: tuple[frozenset[str], ...] = (
    frozenset({"guitar", "acoustic_guitar"}),
    frozenset({"guitar", "electric_guitar"}),
    frozenset({"guitar", "bass_guitar"}),
    frozenset({"drum", "snare_drum"}),
    frozenset({"drum", "bass_drum"}),
)


def match_table(names: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which class of a picture goes with which class of a sound.

    Args:
        names: the classes, in the order of the tables' rows (seen) and columns (heard).

    Returns:
        ``matches`` and ``known``, bool ``C x C``.
    """
    matches = np.eye(len(names), dtype=np.bool_)
    known = np.ones_like(matches)
    for seen, seen_name in enumerate(names):
        for heard, heard_name in enumerate(names):
            pair = frozenset({seen_name, heard_name})
            if pair in MATCHES:
                matches[seen, heard] = True
            elif seen != heard and any(pair <= family for family in FAMILIES):
                known[seen, heard] = False
    return matches, known


def join_names(names: list[str]) -> str:
    """Names of classes in one line; those with a comma (``Violin, fiddle``) in quotation marks."""
    return ", ".join('"{}"'.format(name.replace('"', '""')) if {",", '"'} & {*name} else name for name in names)


def split_names(text: str) -> list[str]:
    """Names of classes from what :func:`join_names` made of them."""
    rows = list(csv.reader([text], skipinitialspace=True))
    return [name for name in rows[0] if name] if rows else []
