"""Which part a video belongs to: by a hash of its identity, so that adding files moves nobody."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

PARTS = ("train", "validation", "test")

# Identifier of a video on the web and where in it the clip starts (and ends), as the lists in use
# name their files: dQw4w9WgXcQ_30.mp4, dQw4w9WgXcQ_000030.mp4, dQw4w9WgXcQ_30.000_40.000.mp4.
FETCHED_NAME = re.compile(r"(?P<video_id>[A-Za-z0-9_-]{11})(_\d+(\.\d+)?){1,2}")

Shares = tuple[float, float, float]


def parse_split(text: str) -> Shares:
    """Shares of train, validation and test, which add up to 1, from text such as ``90:8:2``.

    Raises:
        ValueError: not three numbers of at least 0, the first above 0.
    """
    numbers = [float(part) for part in text.split(":")]
    if len(numbers) != len(PARTS) or not all(math.isfinite(n) and n >= 0 for n in numbers) or numbers[0] <= 0:
        raise ValueError("not three numbers of at least 0 (train:validation:test), the first above 0")
    total = sum(numbers)
    train, validation, test = (number / total for number in numbers)
    return train, validation, test


def part_of(video_id: str, shares: Shares) -> str:
    """``train``, ``validation`` or ``test``: depends on the identity and the shares alone.

    Validation takes the lowest hashes, test the next: the hash is that by which labelled material is split, so that a
    video which is held out there is held out here.
    """
    digest = hashlib.sha256(video_id.encode(errors="surrogateescape")).digest()
    position = int.from_bytes(digest[:4], "big") / 2**32
    _, validation, test = shares
    if position < validation:
        return "validation"
    return "test" if position < validation + test else "train"


def video_id_of(file: str | Path) -> str:
    """Identity of a file for which no list names one: its stem.

    A stem of eleven characters that can be the identifier of a web video, followed by one or two numbers
    (``ID_START``, ``ID_START_END``), counts as that identifier: clips of one video stay in one part. Files of one stem
    in several folders count as one video.
    """
    stem = Path(file).stem
    match = FETCHED_NAME.fullmatch(stem)
    return match["video_id"] if match else stem
