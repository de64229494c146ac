"""The timeline as lines, table and arrays: the same entries as the JSON file, whole or not there."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.runtime.errors import AvolError
from avol.runtime.timeline import TimelineFrame, read_timeline
from avol.runtime.timeline_formats import CSV_COLUMNS, FORMATS, open_timeline

HEAD: dict[str, Any] = {
    "source": {"path": "clip ∿ ü\udcff.mp4", "frame_rate": 29.97},
    "model": {"name": "avol-128", "backend": "onnxruntime-cpu"},
    "analysis": {"rate_hz": 10.0, "threshold": 0.5},
}

shares = st.floats(0, 1, width=32)
frames_of_a_run = st.lists(
    st.builds(
        TimelineFrame,
        time_seconds=st.floats(0, 1e5),
        score=shares,
        sounding=st.booleans(),
        peak=st.none() | st.tuples(shares, shares),
        box=st.none() | st.tuples(shares, shares, shares, shares),
        map=st.just(np.arange(6, dtype=np.float32).reshape(2, 3) / 6),
    ),
    max_size=8,
)


def write(path: Path, format: str, frames: list[TimelineFrame], *, maps: bool = False) -> Path:
    with open_timeline(path, format, **HEAD, maps=maps) as timeline:
        for frame in frames:
            timeline.write(frame)
    return path


@given(frames=frames_of_a_run, maps=st.booleans())
@settings(max_examples=40, deadline=None)
def test_all_formats_say_the_same(tmp_path_factory: pytest.TempPathFactory, frames: Any, maps: bool) -> None:
    folder = tmp_path_factory.mktemp("formats")
    entries = read_timeline(write(folder / "a.json", "json", frames, maps=maps))["frames"]
    head, *lines = write(folder / "a.jsonl", "jsonl", frames, maps=maps).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == entries
    assert json.loads(head)["format"] == "avol.timeline/1"
    assert json.loads(head)["analysis"] == HEAD["analysis"]

    with write(folder / "a.csv", "csv", frames).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        flat = [entry["time_seconds"], entry["score"], int(entry["sounding"])]
        flat += [*(entry["peak"] or [None] * 2), *(entry["box"] or [None] * 4)]
        assert [float(value) if value else None for value in row.values()] == flat

    with np.load(write(folder / "a.npz", "npz", frames, maps=maps)) as arrays:
        assert json.loads(str(arrays["head"]))["model"] == HEAD["model"]
        assert arrays["time_seconds"].tolist() == [frame.time_seconds for frame in frames]
        assert arrays["sounding"].tolist() == [frame.sounding for frame in frames]
        assert arrays["score"].dtype == np.float32
        for index, frame in enumerate(frames):
            assert arrays["peak"][index].tolist() == pytest.approx(frame.peak or [math.nan] * 2, nan_ok=True)
            assert arrays["box"][index].tolist() == pytest.approx(frame.box or [math.nan] * 4, nan_ok=True)
        assert ("map" in arrays) == (maps and bool(frames))
        if maps and frames:
            assert arrays["map"].shape == (len(frames), 2, 3)
            assert np.array_equal(arrays["map"][-1], frames[-1].map)


def test_the_table_has_the_documented_columns(tmp_path: Path) -> None:
    assert write(tmp_path / "a.csv", "csv", []).read_text() == ",".join(CSV_COLUMNS) + "\n"
    assert CSV_COLUMNS[0] == "time_seconds"


def test_lines_are_there_while_the_run_goes(tmp_path: Path) -> None:
    timeline = open_timeline(tmp_path / "a.jsonl", "jsonl", **HEAD)
    timeline.write(TimelineFrame(time_seconds=0.5, score=0.25, sounding=False))
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1])["time_seconds"] == 0.5
    timeline.close()
    timeline.close()


@pytest.mark.parametrize("format", ["json", "jsonl", "npz"])
@pytest.mark.parametrize("seconds", [0.5, 123456.789012])
def test_a_source_that_was_cut_off_is_as_long_as_it_was(tmp_path: Path, format: str, seconds: float) -> None:
    path = tmp_path / f"a.{format}"
    head = HEAD | {"source": {"path": "ü", "duration_seconds": 10.0}}
    with open_timeline(path, format, **head) as timeline:
        timeline.write(TimelineFrame(time_seconds=0.5, score=0.25, sounding=False))
        timeline.close(seconds)
    if format == "npz":
        with np.load(path) as arrays:
            source = json.loads(str(arrays["head"]))["source"]
    else:
        text = path.read_text(encoding="utf-8")
        source = json.loads(text if format == "json" else text.splitlines()[0])["source"]
        assert text.count("0.25") == 1
    assert source == {"path": "ü", "duration_seconds": seconds}


@pytest.mark.parametrize("format", FORMATS)
def test_an_error_leaves_no_open_file_and_no_temporary_one(tmp_path: Path, format: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    def fail() -> None:
        with open_timeline(tmp_path / f"a.{format}", format, **HEAD) as timeline:
            timeline.write(TimelineFrame(time_seconds=0.5, score=0.25, sounding=False))
            raise RuntimeError("stage failed")

    with pytest.raises(RuntimeError, match="stage failed"):
        fail()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{format}"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_line(format: str) -> None:
    if format == "npz" and not os.access("/dev", os.W_OK):
        pytest.skip("the arrays grow beside the result, and only root may write beside /dev/full")

    def fill() -> None:
        with open_timeline(Path("/dev/full"), format, **HEAD, shown_as=Path("result")) as timeline:
            for step in range(5000):
                timeline.write(TimelineFrame(time_seconds=step / 10, score=0.5, sounding=True))

    with pytest.raises(AvolError, match=r"^result: cannot be written: .*[Ss]pace"):
        fill()


def test_a_table_holds_no_maps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="csv without maps"):
        open_timeline(tmp_path / "a.csv", "csv", **HEAD, maps=True)
    with pytest.raises(ValueError, match="allowed are json"):
        open_timeline(tmp_path / "a.xml", "xml", **HEAD)
    assert not list(tmp_path.iterdir())
