"""What a prepared folder holds, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avol.runtime.errors import AvolError
from avol.train.data.prepare import read_problems
from avol.train.data.prepare_settings import Settings, read_settings
from avol.train.data.shard_files import ClipRecord, read_shards
from avol.train.data.split import PARTS

UNLABELLED = "(no label)"
CLASSES_SHOWN = 40
COPIES_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Clips of different files with the same frames and samples."""

    files: list[str]
    parts: list[str]


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Counts of a prepared folder.

    Attributes:
        settings: of the folder.
        parts: by part: ``videos`` (sources), ``files``, ``clips``, ``frames``, ``hours``, clips that are ``silent``
            or ``still``.
        classes: clips by class and part; a clip of several classes counts for each.
        durations_seconds: of clips: ``shortest``, ``median``, ``longest``.
        silent_share: share of all time without sound.
        copies: clips that are equal though their files differ.
        left_out: files that gave no clip, by reason.
    """

    settings: Settings
    parts: dict[str, dict[str, float]]
    classes: dict[str, dict[str, int]]
    durations_seconds: dict[str, float]
    silent_share: float
    copies: list[Copies]
    left_out: dict[str, int]

    @property
    def copies_across_parts(self) -> int:
        """How many clips of one part another part holds as well."""
        return sum(len(set(copies.parts)) > 1 for copies in self.copies)

    def record(self) -> dict[str, Any]:
        """All of it for JSON."""
        return asdict(self) | {"copies_across_parts": self.copies_across_parts}


def take_inventory(folder: Path) -> Inventory:
    """Count.

    Raises:
        AvolError: not a prepared folder, an empty one, or one with a damaged shard.
    """
    settings = read_settings(folder)
    clips = [(shard.part, record) for shard in read_shards(folder, settings) for record in shard.records]
    if not clips:
        raise AvolError(f"{folder}: holds no clips yet; run avol data prepare VIDEOS --out {folder}.")
    durations = [record.duration_seconds for _, record in clips]
    silent_seconds = sum(record.silent_share * record.duration_seconds for _, record in clips)
    reasons = Counter(problem.reason for problem in read_problems(folder) if problem.reason != "damaged")
    return Inventory(
        settings=settings,
        parts={part: _count([record for of, record in clips if of == part]) for part in PARTS},
        classes=_classes(clips),
        durations_seconds={
            "shortest": min(durations),
            "median": float(np.median(durations)),
            "longest": max(durations),
        },
        silent_share=silent_seconds / sum(durations),
        copies=_copies(clips),
        left_out=dict(reasons.most_common()),
    )


def _count(records: Sequence[ClipRecord]) -> dict[str, float]:
    return {
        "videos": len({record.video_id for record in records}),
        "files": len({record.file for record in records}),
        "clips": len(records),
        "frames": sum(record.frame_count for record in records),
        "hours": sum(record.duration_seconds for record in records) / 3600,
        "silent": sum(record.silent_share == 1.0 for record in records),
        "still": sum(record.is_still for record in records),
    }


def _classes(clips: Sequence[tuple[str, ClipRecord]]) -> dict[str, dict[str, int]]:
    """Largest class first."""
    counts = {part: Counter[str]() for part in PARTS}
    for part, record in clips:
        counts[part].update(record.label.split("|") if record.label else [UNLABELLED])
    total = sum(counts.values(), Counter[str]())
    labels = sorted(total, key=lambda label: (-total[label], label))
    return {label: {part: counts[part][label] for part in PARTS} for label in labels}


def _copies(clips: Sequence[tuple[str, ClipRecord]]) -> list[Copies]:
    """Clips with the same content: files that differ in their container or their tags alone, channels' trailers."""
    same: dict[str, list[tuple[str, str]]] = {}
    for part, record in clips:
        same.setdefault(record.content_digest, []).append((record.file, part))
    groups = (sorted(set(found)) for found in same.values() if len({file for file, _ in found}) > 1)
    return [Copies(files=[file for file, _ in group], parts=[part for _, part in group]) for group in groups]


def lines_of(inventory: Inventory) -> Iterator[str]:
    """The counts as a table, for people."""
    columns = ("videos", "files", "clips", "frames", "hours", "silent", "still")
    yield f"{'':12}" + "".join(f"{name:>9}" for name in columns)
    for part, row in inventory.parts.items():
        cells = (f"{row[name]:>9.2f}" if name == "hours" else f"{row[name]:>9.0f}" for name in columns)
        yield f"{part:12}" + "".join(cells)
    yield ""
    width = max(map(len, inventory.classes), default=0) + 2
    yield f"{'class':{width}}" + "".join(f"{part:>12}" for part in PARTS)
    for label, counts in list(inventory.classes.items())[:CLASSES_SHOWN]:
        yield f"{label:{width}}" + "".join(f"{counts[part]:>12}" for part in PARTS)
    if len(inventory.classes) > CLASSES_SHOWN:
        yield f"and {len(inventory.classes) - CLASSES_SHOWN} classes more (--json has all)"
    yield ""
    yield from _facts(inventory)


def _facts(inventory: Inventory) -> Iterator[str]:
    settings, durations = inventory.settings, inventory.durations_seconds
    yield (
        f"clips last {durations['shortest']:.1f} to {durations['longest']:.1f} s, median {durations['median']:.1f}; "
        f"silent for {inventory.silent_share:.1%} of the time"
    )
    yield (
        f"frames of {settings.frame_side} pixels, up to {settings.frames_per_second:g} a second; sound at "
        f"{settings.sample_rate_hz} Hz"
    )
    yield f"equal clips in different files: {len(inventory.copies)}, across parts: {inventory.copies_across_parts}"
    for copies in inventory.copies[:COPIES_SHOWN]:
        yield "  " + " = ".join(f"{file} ({part})" for file, part in zip(copies.files, copies.parts, strict=True))
    reasons = ", ".join(f"{count} {reason}" for reason, count in inventory.left_out.items())
    yield f"files left out: {sum(inventory.left_out.values())}" + (f" ({reasons})" if reasons else "")
