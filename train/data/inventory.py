"""What a prepared folder holds, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avol.train.data.shards import PARTS, ClipEntry, Settings, read_settings, read_table, table_paths

QUIET_LOUDNESS = 1e-3  # RMS of the loudest tenth of a second of a clip in which nothing sounds
UNLABELLED = "(no label)"


@dataclass(frozen=True)
class Inventory:
    """Tables of a prepared folder, read together."""

    settings: Settings
    clips: list[ClipEntry]
    problems: dict[str, str]

    def record(self) -> dict[str, object]:
        """The counts, for JSON."""
        return {
            "settings": vars(self.settings),
            "parts": {part: self._part(part) for part in PARTS},
            "classes": {part: dict(Counter(self._labels(part)).most_common()) for part in PARTS},
            "problems": self.problems,
        }

    def lines(self) -> Iterator[str]:
        """The counts, for people."""
        settings = self.settings
        yield (
            f"frames of {settings.side} pixels, {settings.frames_per_second:g} a second; sound at "
            f"{settings.sample_rate_hz} Hz; pieces of {settings.piece_seconds:g} s"
        )
        yield f"{'':12}{'videos':>8}{'clips':>8}{'frames':>9}{'minutes':>9}{'median s':>10}{'quiet':>7}{'still':>7}"
        for part in PARTS:
            row = self._part(part)
            yield (
                f"{part:12}{row['videos']:>8}{row['clips']:>8}{row['frames']:>9}{row['seconds'] / 60:>9.1f}"
                f"{row['median_seconds']:>10.1f}{row['quiet']:>7}{row['still']:>7}"
            )
        classes = Counter(clip.label or UNLABELLED for clip in self.clips)
        yield f"{len(classes)} classes (train, validation, test):"
        by_part = {part: Counter(self._labels(part)) for part in PARTS}
        for label, _ in classes.most_common():
            yield f"  {label:32}" + "".join(f"{by_part[part][label]:>7}" for part in PARTS)
        yield f"{len(self.problems)} files gave no clip" + (":" if self.problems else "")
        for name, why in self.problems.items():
            yield f"  {name}: {why}"

    def _labels(self, part: str) -> list[str]:
        return [clip.label or UNLABELLED for clip in self.clips if clip.part == part]

    def _part(self, part: str) -> dict[str, float]:
        clips = [clip for clip in self.clips if clip.part == part]
        seconds = [clip.sample_count / self.settings.sample_rate_hz for clip in clips]
        return {
            "videos": len({clip.video_id for clip in clips}),
            "clips": len(clips),
            "frames": sum(len(clip.times_seconds) for clip in clips),
            "seconds": float(sum(seconds)),
            "median_seconds": float(np.median(seconds)) if seconds else 0.0,
            "quiet": sum(clip.loudness < QUIET_LOUDNESS for clip in clips),
            "still": sum(clip.still for clip in clips),
        }


def take_inventory(folder: Path) -> Inventory:
    """Read all tables of a prepared folder.

    Raises:
        AvolError: not a prepared folder, or a table that cannot be read.
    """
    settings = read_settings(folder)
    tables = [read_table(path) for path in table_paths(folder)]
    problems = {name: why for table in tables for name, why in table.problems.items()}
    return Inventory(settings, [clip for table in tables for clip in table.clips], problems)
