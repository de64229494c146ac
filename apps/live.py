"""``avol-run --live``: a stream or a camera as it comes, into a timeline that grows line by line."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    import argparse

    from avol.runtime.live import LiveFinding, LiveMeter
    from avol.runtime.live_input import LiveSource
    from avol.runtime.media.writer import VideoWriter
    from avol.runtime.system import System

LARGEST_BYTES = 64 << 20  # of the timeline; then it starts anew, and the last one stays as NAME.1
REPORT_SECONDS = 2.0


class RollingLines:
    """JSON lines that a reader sees at once; a full file moves to ``NAME.1``, so that months of stream fit a disk.

    Args:
        path: the file, appended to if it is there; None: standard output.
        head: a line that begins every file.

    Raises:
        AvolError: it cannot be written (also from :meth:`write`).
    """

    def __init__(self, path: Path | None, head: dict[str, object], *, largest_bytes: int = LARGEST_BYTES) -> None:
        self._path, self._head, self._largest_bytes = path, head, largest_bytes
        self._file = self._open()

    def __enter__(self) -> RollingLines:
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def write(self, line: dict[str, object]) -> None:
        """Append one object."""
        text = json.dumps(line, ensure_ascii=False) + "\n"
        try:
            if self._path is not None and self._file.tell() + len(text) > self._largest_bytes:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._open()
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise AvolError(f"{self._path or 'standard output'}: cannot be written: {error.strerror}.") from None

    def _open(self) -> TextIO:
        if self._path is None:
            file: TextIO = sys.stdout
        else:
            try:
                file = self._path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
            except OSError as error:
                raise AvolError(f"{self._path}: cannot be written: {error.strerror}; choose another --json.") from None
        file.write(json.dumps(self._head, ensure_ascii=False) + "\n")
        file.flush()
        return file


def run_live(
    source: LiveSource, system: System, arguments: argparse.Namespace, description: str, *, program: str
) -> int:
    """Run until interrupted, or until ``--seconds`` are over; gives the exit status.

    Raises:
        AvolError: there is nothing to read, or the results cannot be written.
    """
    from avol.runtime.live import LiveMeter, localise_live
    from avol.runtime.live_input import shown

    def say(line: str) -> None:
        print(f"{program}: {line}", file=sys.stderr, flush=True)

    path = (
        None if str(arguments.json) == "-" else arguments.json or Path(time.strftime("live-%Y%m%d-%H%M%S.avol.jsonl"))
    )
    threshold = system.spec.threshold if arguments.threshold is None else arguments.threshold
    deadline = math.inf if arguments.seconds is None else time.monotonic() + arguments.seconds
    meter = LiveMeter()
    findings = localise_live(
        source,
        system,
        rate_hz=arguments.rate,
        threshold=threshold,
        notice=say,
        stop=lambda: time.monotonic() >= deadline,
    )
    head = _head(shown(source.url), system, arguments.rate, threshold)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(findings))  # type: ignore[type-var]
        lines: RollingLines | None = None
        video = stack.enter_context(_LiveVideo(arguments.live_video))
        stack.callback(lambda: say(_summary(meter) + ("" if path is None else f" -> {path}")))  # also when interrupted
        for finding in _reported(findings, meter, description):
            if lines is None:  # the stream is there
                lines = stack.enter_context(RollingLines(path, head))
            lines.write(line_of(finding, maps=arguments.maps))
            video.write(finding)
    return 0


def line_of(finding: LiveFinding, *, maps: bool) -> dict[str, object]:
    """An entry of the timeline, and how late it is.

    ``written_at`` is the time of day in seconds since 1970, ``latency_seconds`` runs from the picture's decoding to the
    finding, ``dropped`` counts the pictures that were to be analysed before this one and were stale.
    """
    from avol.runtime.timeline import entry_of

    return {
        **entry_of(finding.entry, maps=maps),
        "latency_seconds": round(finding.latency_seconds, 4),
        "dropped": finding.dropped,
        "written_at": round(time.time(), 4),
    }


def _head(name: str, system: System, rate_hz: float, threshold: float) -> dict[str, object]:
    spec, backend = system.spec, system.backend
    model = {"name": spec.name, "sha256": spec.weights_sha256, "system": spec.system}
    model |= {"backend": backend.name, "precision": backend.precision}
    analysis = {"rate_hz": rate_hz, "window_seconds": spec.spectrogram.clip_seconds, "threshold": threshold}
    return {"format": "avol.live/1", "source": {"path": name}, "model": model, "analysis": analysis}


def _reported(findings: Iterator[LiveFinding], meter: LiveMeter, description: str) -> Iterator[LiveFinding]:
    """The findings, counted; on a terminal a line tells how it goes."""
    shows, next_report = sys.stderr.isatty(), 0.0
    for finding in findings:
        meter.add(finding)
        yield finding
        if shows and time.monotonic() >= next_report:
            next_report = time.monotonic() + REPORT_SECONDS
            state = "SOUNDING" if finding.entry.sounding else "quiet   "
            print(f"\r{state} {finding.entry.score:.2f}  {_summary(meter)}  {description} ", end="", file=sys.stderr)
    if shows and meter.findings:
        print(file=sys.stderr)


def _summary(meter: LiveMeter) -> str:
    if not meter.findings:
        return "nothing was analysed"
    return (
        f"{meter.findings} analysed, {meter.sounding} sounding, {meter.dropped} dropped, latency "
        f"p50 {1000 * meter.latency_percentile(50):.0f} ms, p95 {1000 * meter.latency_percentile(95):.0f} ms"
    )


class _LiveVideo:
    """The analysed pictures with their heat, without sound; complete when the run is ended."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._stack = path, contextlib.ExitStack()
        self._writer: VideoWriter | None = None

    def __enter__(self) -> _LiveVideo:
        from avol.runtime.atomic import AtomicOutput
        from avol.runtime.overlay import Overlay

        self._overlay = Overlay()
        self._output = None if self._path is None else self._stack.enter_context(AtomicOutput(self._path))
        return self

    def write(self, finding: LiveFinding) -> None:
        """Draw and append a picture."""
        if self._output is None:
            return
        picture, entry = finding.picture, finding.entry
        if self._writer is None:
            self._writer, self._first_seconds = self._open(finding), entry.time_seconds
            self._size = (picture.width, picture.height)
        if (picture.width, picture.height) == self._size:  # a stream that comes back in another size has no place here
            drawn = self._overlay.draw(picture, entry.map if entry.sounding else None)
            self._writer.write(drawn, entry.time_seconds - self._first_seconds)

    def _open(self, finding: LiveFinding) -> VideoWriter:
        from avol.runtime.media.writer import VideoWriter

        assert self._output is not None
        width, height = finding.picture.width, finding.picture.height
        path, name = self._output.temporary, self._output.path
        writer = VideoWriter(path, width=width, height=height, time_base=Fraction(1, 90_000), shown_as=name)
        return self._stack.enter_context(writer)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # An interrupt is how a live run ends: what has been seen is kept.
        if self._writer is not None and self._output is not None and (kind is None or kind is KeyboardInterrupt):
            self._writer.close()
            self._output.commit()
        self._stack.close()
