"""The timeline as other programs like it: one JSON object a line, a table, or arrays; written while the run goes."""

from __future__ import annotations

import csv
import json
import math
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np

from avol.runtime.atomic import write_error
from avol.runtime.timeline import (
    DURATION_LETTERS,
    TIME_DECIMALS,
    VALUE_DECIMALS,
    TimelineFrame,
    TimelineWriter,
    entry_of,
    head_of,
    to_json,
)

FORMATS = ("json", "jsonl", "csv", "npz")
CSV_COLUMNS = (
    "time_seconds",
    "score",
    "sounding",
    "peak_x",
    "peak_y",
    "box_left",
    "box_top",
    "box_right",
    "box_bottom",
)
# Name, type and shape of an entry's part; the map's shape is known from the first one.
NPZ_COLUMNS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("time_seconds", "<f8", ()),
    ("score", "<f4", ()),
    ("sounding", "|b1", ()),
    ("peak", "<f4", (2,)),
    ("box", "<f4", (4,)),
)
COPIED_BYTES = 1 << 20  # at a time


class Timeline(Protocol):
    """What takes the entries of a run, in the order of their times; a context manager that closes."""

    def write(self, frame: TimelineFrame) -> None:
        """Append an entry."""

    def close(self, duration_seconds: float | None = None) -> None:
        """Complete the file, with another duration of the source if that turned out so; closing twice is fine."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def open_timeline(
    path: Path,
    format: str,
    *,
    source: dict[str, Any],
    model: dict[str, Any],
    analysis: dict[str, Any],
    maps: bool = False,
    shown_as: Path | None = None,
) -> Timeline:
    """Start a timeline in one of :data:`FORMATS`.

    - ``json``: DESIGN.md's ``avol.timeline/1``.
    - ``jsonl``: the same head as the first line, then one entry a line: valid as far as it is written.
    - ``csv``: the columns :data:`CSV_COLUMNS`, coordinates 0..1 of the frame, empty where there is no value; no maps.
    - ``npz``: arrays ``time_seconds`` (N, float64, seconds), ``score`` (N, float32), ``sounding`` (N, bool), ``peak``
      (N x 2), ``box`` (N x 4, not-a-number where there is none), with maps ``map`` (N x GH x GW, float32), and
      ``head``, the JSON text of source, model and analysis.

    Raises:
        AvolError: the file cannot be written (also from its methods).
        ValueError: an unknown format, or maps in a table.
    """
    if format not in FORMATS or (maps and format == "csv"):
        raise ValueError(f"format is {format!r} with maps={maps}, allowed are {', '.join(FORMATS)}, csv without maps")
    if format == "json":
        return TimelineWriter(path, source=source, model=model, analysis=analysis, maps=maps, shown_as=shown_as)
    head = head_of(source=source, model=model, analysis=analysis)
    if format == "npz":
        return ArraysTimeline(path, head, maps=maps, shown_as=shown_as or path)
    return LinesTimeline(path, head if format == "jsonl" else None, maps=maps, shown_as=shown_as or path)


class _File:
    """An open file whose failures are the user's message; it closes once, complete or not."""

    def __init__(self, path: Path, mode: str, shown_as: Path, **text: Any) -> None:  # noqa: ANN401 (of open)
        self._shown_as = shown_as
        self._file: IO[Any] = self._attempt(lambda: path.open(mode, **text))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def close(self, duration_seconds: float | None = None) -> None:
        """Complete the file; closing twice is fine."""
        if not self._file.closed:
            self._finish(duration_seconds)
            self._attempt(self._file.close)

    def _finish(self, duration_seconds: float | None) -> None:
        """What is to be written at the end."""

    def _abandon(self) -> None:
        with suppress(OSError):  # what cannot be written any more no longer matters
            self._file.close()

    def _attempt(self, action: Callable[[], Any]) -> Any:  # noqa: ANN401 (what the action gives)
        try:
            return action()
        except OSError as error:
            if hasattr(self, "_file"):
                self._abandon()
            raise write_error(self._shown_as, error) from None


class LinesTimeline(_File):
    """One entry a line: JSON after a ``head`` line, or a table if there is none."""

    def __init__(self, path: Path, head: dict[str, Any] | None, *, maps: bool, shown_as: Path) -> None:
        super().__init__(path, "w", shown_as, encoding="utf-8", errors="backslashreplace", newline="")
        self._table = None if head is not None else csv.writer(self._file, lineterminator="\n")
        self._maps, self._head = maps, head
        if head is None:
            self._put(CSV_COLUMNS)
        else:  # blanks leave room for another duration
            self._attempt(lambda: self._file.write(to_json(head) + " " * DURATION_LETTERS + "\n"))

    def _finish(self, duration_seconds: float | None) -> None:
        if self._head is not None and duration_seconds is not None:
            written = len(to_json(self._head)) + DURATION_LETTERS
            head = _with_duration(self._head, duration_seconds)
            self._attempt(lambda: (self._file.seek(0), self._file.write(to_json(head).ljust(written))))

    def write(self, frame: TimelineFrame) -> None:
        """Append an entry; a reader sees it at once."""
        if self._table is None:
            self._put(entry_of(frame, maps=self._maps))
        else:
            self._put(_table_row(frame))

    def _put(self, line: Any) -> None:  # noqa: ANN401 (a row or an object)
        def write() -> None:
            if self._table is None:
                self._file.write(to_json(line) + "\n")
            else:
                self._table.writerow(line)
            self._file.flush()

        self._attempt(write)


def _with_duration(head: dict[str, Any], duration_seconds: float) -> dict[str, Any]:
    return {**head, "source": {**head["source"], "duration_seconds": round(duration_seconds, TIME_DECIMALS)}}


def _table_row(frame: TimelineFrame) -> list[str]:
    values = [*(frame.peak or [math.nan] * 2), *(frame.box or [math.nan] * 4)]
    numbers = [_text(frame.time_seconds, TIME_DECIMALS), _text(frame.score, VALUE_DECIMALS), str(int(frame.sounding))]
    return numbers + [_text(value, VALUE_DECIMALS) for value in values]


def _text(value: float, decimals: int) -> str:
    """A number as short as it can be; nothing for one that is none."""
    return repr(round(float(value), decimals) + 0.0) if math.isfinite(value) else ""


class ArraysTimeline(_File):
    """Arrays in one ``.npz``; they grow in unnamed temporary files, so that hours of video do not sit in memory."""

    def __init__(self, path: Path, head: dict[str, Any], *, maps: bool, shown_as: Path) -> None:
        super().__init__(path, "wb", shown_as)
        self._head, self._maps, self._count = head, maps, 0
        self._columns = {name: (type_name, shape) for name, type_name, shape in NPZ_COLUMNS}
        self._stack = ExitStack()
        folder = path.parent  # where the result goes there is room for it, which is not sure of /tmp
        self._spools: dict[str, IO[bytes]] = {
            name: self._stack.enter_context(self._attempt(partial(tempfile.TemporaryFile, dir=folder)))
            for name in [*self._columns, "map"]
        }

    def write(self, frame: TimelineFrame) -> None:
        """Append an entry."""
        values: dict[str, Any] = {
            "time_seconds": frame.time_seconds,
            "score": frame.score,
            "sounding": frame.sounding,
            "peak": frame.peak or [math.nan] * 2,
            "box": frame.box or [math.nan] * 4,
        }
        if self._maps and frame.map is not None:
            self._columns.setdefault("map", ("<f4", frame.map.shape))
            values["map"] = frame.map
        for name, value in values.items():
            array = np.asarray(value, dtype=self._columns[name][0])
            self._attempt(partial(self._spools[name].write, array.tobytes()))
        self._count += 1

    def _finish(self, duration_seconds: float | None) -> None:
        if duration_seconds is not None:
            self._head = _with_duration(self._head, duration_seconds)
        self._attempt(self._assemble)
        self._stack.close()

    def _abandon(self) -> None:
        self._stack.close()
        super()._abandon()

    def _assemble(self) -> None:
        with zipfile.ZipFile(self._file, "w", allowZip64=True) as archive:
            with archive.open("head.npy", "w") as member:
                np.lib.format.write_array(member, np.array(json.dumps(self._head)), allow_pickle=False)
            for name, (type_name, shape) in self._columns.items():
                spool = self._spools[name]
                header = {"descr": type_name, "fortran_order": False, "shape": (self._count, *shape)}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    spool.seek(0)
                    while block := spool.read(COPIED_BYTES):
                        member.write(block)
