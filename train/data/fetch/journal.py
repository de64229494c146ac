"""What became of every segment, kept line by line, so that a fetch that is killed goes on where it was."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avol.runtime.atomic import write_error
from avol.runtime.errors import AvolError
from avol.train.data.fetch.download import FETCHED, Outcome
from avol.train.data.fetch.segments import Segment
from avol.train.data.listing import LABEL_LIST
from avol.train.data.prepare_settings import write_file

JOURNAL_FILE = "fetch.jsonl"
TABLE_FILE = "fetch.csv"
NOT_ASKED = "not asked yet"


class Journal:
    """Outcomes by file name, in memory and in ``fetch.jsonl`` in the folder of the clips.

    Raises:
        AvolError: the file cannot be read or written (also from :meth:`add`).
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / JOURNAL_FILE
        self.outcomes: dict[str, Outcome] = {}
        try:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
            for line in text.splitlines():
                self._take(line)
            self._file = self._path.open("a", encoding="utf-8")
            if text and not text.endswith("\n"):  # a kill in the middle of a line
                self._file.write("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise AvolError(f"{self._path}: cannot be used ({error}); move it away, or choose another --out.") from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, segment: Segment, outcome: Outcome) -> None:
        """Note an outcome; it is on its way to the disk when this returns."""
        self.outcomes[segment.file_name] = outcome
        record = {"file": segment.file_name, "status": outcome.status, "reason": outcome.reason}
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(self._path, error) from None

    def is_done(self, segment: Segment, *, retry: bool) -> bool:
        """Whether a segment need not be asked for: its clip is there, or asking again is of no use."""
        if (self._folder / segment.file_name).is_file():
            if self.outcomes.get(segment.file_name, Outcome("")).status != FETCHED:
                self.add(segment, Outcome(FETCHED, "was there"))  # killed between the clip and its line
            return True
        known = self.outcomes.get(segment.file_name)
        return known is not None and known.is_final and known.status != FETCHED and not retry

    def status_of(self, segment: Segment) -> Outcome:
        """What is known of a segment."""
        return self.outcomes.get(segment.file_name, Outcome(NOT_ASKED))

    def write_tables(self, segments: Iterable[Segment]) -> Counter[str]:
        """Write ``fetch.csv`` (all segments) and ``clips.csv`` (what ``avol data prepare`` reads); counts by status."""
        table, clips, counts = [], [], Counter[str]()
        for segment in segments:
            outcome = self.status_of(segment)
            counts[outcome.status] += 1
            span = (f"{segment.start_seconds:g}", f"{segment.end_seconds:g}")
            labels = "|".join(segment.labels)
            table.append((segment.file_name, segment.url, *span, labels, outcome.status, outcome.reason))
            if outcome.status == FETCHED:
                clips += [(segment.file_name, label, segment.video_id) for label in segment.labels or ("",)]
        columns = ("file", "url", "start_seconds", "end_seconds", "label", "status", "reason")
        _write_csv(self._folder / TABLE_FILE, columns, table)
        _write_csv(self._folder / LABEL_LIST, ("file", "label", "video_id"), clips)
        return counts

    def _take(self, line: str) -> None:
        """A line of the file; one that was cut off by a kill is passed over."""
        try:
            record: Any = json.loads(line)
            self.outcomes[str(record["file"])] = Outcome(str(record["status"]), str(record.get("reason", "")))
        except (ValueError, TypeError, KeyError):
            return


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_file(path, [text.getvalue().encode()])
