"""The timeline: what was heard and where, one entry per analysed frame, as a JSON file written while the run goes."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from avol.runtime.atomic import write_error
from avol.runtime.errors import AvolError
from avol.runtime.opencv import cv2

FORMAT = "avol.timeline/1"
TIME_DECIMALS = 6
VALUE_DECIMALS = 4
DURATION_LETTERS = 16  # more than a number of seconds can gain

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class TimelineFrame:
    """What was found in one analysed frame. Coordinates are 0..1 of the displayed frame, x right and y down.

    Attributes:
        time_seconds: the frame's time in the output video.
        score: maximum of the calibrated map, 0..1.
        sounding: whether the score reaches the threshold.
        peak: centre of the largest cell; None for a system without a map.
        box: left, top, right, bottom edge of the connected cells that reach the threshold and hold the peak.
        map: float32 ``GH x GW``, every cell calibrated alike.
    """

    time_seconds: float
    score: float
    sounding: bool
    peak: Point | None = None
    box: Box | None = None
    map: NDArray[np.float32] | None = None


def peak_and_box(map: NDArray[np.floating], threshold: float) -> tuple[Point | None, Box | None]:
    """Where the map is largest, and the extent of the region around it that reaches the threshold.

    Args:
        map: floating ``GH x GW``. Cells that are not a number are never the peak and belong to no region.
        threshold: cells of at least this value count as sounding.

    Returns:
        The centre of the largest cell (the first in reading order among equals; None if no cell is a number), and the
        edges of the cells >= threshold that are connected to it over their sides (None if the peak is below it).
    """
    height, width = map.shape
    values = np.where(np.isnan(map), -np.inf, map)
    row, column = divmod(int(values.argmax()), width)
    if values[row, column] == -np.inf:
        return None, None
    peak = ((column + 0.5) / width, (row + 0.5) / height)
    reached = values >= threshold
    if not reached[row, column]:
        return peak, None
    _, labels = cv2.connectedComponents(reached.astype(np.uint8), connectivity=4)
    rows, columns = np.nonzero(labels == labels[row, column])
    left, right = int(columns.min()), int(columns.max()) + 1
    top, bottom = int(rows.min()), int(rows.max()) + 1
    return peak, (left / width, top / height, right / width, bottom / height)


class TimelineWriter:
    """Writes a timeline entry by entry, one line each, so that hours of video do not sit in memory.

    Args:
        path: the file to write; valid JSON once :meth:`close` has returned.
        source: what was analysed, see DESIGN.md.
        model: what analysed it.
        analysis: how.
        maps: whether entries have a ``map`` (null where the system gave none).
        shown_as: the name for messages where ``path`` is a temporary one.

    Raises:
        AvolError: the file cannot be written (also from :meth:`write` and :meth:`close`).
    """

    def __init__(
        self,
        path: Path,
        *,
        source: dict[str, Any],
        model: dict[str, Any],
        analysis: dict[str, Any],
        maps: bool = False,
        shown_as: Path | None = None,
    ) -> None:
        self._shown_as = shown_as or path
        self._maps = maps
        self._separator = "\n"
        try:
            # A file name need not be valid UTF-8; its odd bytes become JSON escapes, and the same name when read back.
            self._file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
        except OSError as error:
            raise write_error(self._shown_as, error) from None
        self._source = source
        start = f'{{\n"format": {to_json(FORMAT)},\n'
        self._source_at = len(start)  # bytes: it is ASCII
        self._put(start)
        # Blanks after it leave room for another duration.
        self._put(self._source_line() + " " * DURATION_LETTERS + "\n")
        head = {"model": model, "analysis": analysis}
        self._put("".join(f'"{key}": {to_json(value)},\n' for key, value in head.items()) + '"frames": [')

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def write(self, frame: TimelineFrame) -> None:
        """Append an entry; entries come in the order of their times."""
        self._put(self._separator + to_json(entry_of(frame, maps=self._maps)))
        self._separator = ",\n"

    def close(self, duration_seconds: float | None = None) -> None:
        """Complete the file; closing twice is fine.

        Args:
            duration_seconds: of the source, where it turned out to be another than the head says.
        """
        if self._file.closed:
            return
        self._put("\n]\n}\n")
        if duration_seconds is not None:
            written = len(self._source_line())
            self._source = self._source | {"duration_seconds": _rounded(duration_seconds, TIME_DECIMALS)}
            self._put(self._source_line().ljust(written), at=self._source_at)
        try:
            self._file.close()
        except OSError as error:
            raise write_error(self._shown_as, error) from None

    def _source_line(self) -> str:
        return f'"source": {to_json(self._source)},'

    def _put(self, text: str, *, at: int | None = None) -> None:
        try:
            if at is not None:
                self._file.seek(at)
            self._file.write(text)
        except OSError as error:
            self._abandon()
            raise write_error(self._shown_as, error) from None

    def _abandon(self) -> None:
        """Close an unfinished file; what cannot be written any more no longer matters."""
        with suppress(OSError):
            self._file.close()


def read_timeline(path: Path) -> dict[str, Any]:
    """Read a timeline.

    Returns:
        The JSON object as DESIGN.md describes it.

    Raises:
        AvolError: the file cannot be read, is cut off, or is something else.
    """
    try:
        timeline = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AvolError(f"{path}: cannot be read: {error.strerror}. Give the timeline that avol run wrote.") from None
    except ValueError as error:
        raise AvolError(f"{path}: not complete JSON ({error}). Write the timeline again with avol run.") from None
    found = timeline.get("format") if isinstance(timeline, dict) else None
    if found != FORMAT:
        raise AvolError(f"{path}: not a timeline: its format is {found!r}, this version of avol reads {FORMAT!r}.")
    missing = sorted({"source", "model", "analysis", "frames"} - timeline.keys())
    if missing or not isinstance(timeline["frames"], list):
        raise AvolError(f"{path}: the timeline lacks {missing or ['frames']}. Write it again with avol run.")
    return dict(timeline)


def head_of(*, source: dict[str, Any], model: dict[str, Any], analysis: dict[str, Any]) -> dict[str, Any]:
    """What a timeline says before its first entry."""
    return {"format": FORMAT, "source": source, "model": model, "analysis": analysis}


def entry_of(frame: TimelineFrame, *, maps: bool) -> dict[str, Any]:
    """An entry as the files hold it."""
    entry: dict[str, Any] = {
        "time_seconds": _rounded(frame.time_seconds, TIME_DECIMALS),
        "score": _rounded(frame.score),
        "sounding": bool(frame.sounding),
        "peak": _rounded(frame.peak),
        "box": _rounded(frame.box),
    }
    if maps:
        entry["map"] = _rounded(frame.map.tolist() if frame.map is not None else None)
    return entry


def to_json(value: object) -> str:
    """One line of JSON, without infinities and not-a-numbers."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """JSON has no infinity and no not-a-number: they become null wherever they are."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rounded(value: Any, decimals: int = VALUE_DECIMALS) -> Any:  # noqa: ANN401 (JSON)
    """Floats and nested sequences of floats with as many decimals as mean something."""
    if isinstance(value, list | tuple):
        return [_rounded(item, decimals) for item in value]
    return None if value is None else round(float(value), decimals) + 0.0  # + 0.0: no minus zero
