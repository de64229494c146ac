"""The timeline file: its format, its arithmetic, and what it never holds."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.timeline import TimelineFrame, TimelineWriter, peak_and_box, read_timeline

HEAD: dict[str, Any] = {
    "source": {
        "path": "clip ∿ ü.mp4",
        "audio_path": None,
        "duration_seconds": 1.5,
        "width": 640,
        "height": 360,
        "frame_rate": 29.97,
        "audio_sample_rate": 48000,
    },
    "model": {"name": "avol-128", "sha256": "00", "system": "avol-net", "backend": "onnxruntime", "precision": "fp32"},
    "analysis": {"rate_hz": 10.0, "window_seconds": 1.024, "threshold": 0.5},
}
FRAME = TimelineFrame(time_seconds=0.1, score=0.75, sounding=True, peak=(0.0625, 0.9375), box=(0.0, 0.875, 0.125, 1.0))


def write(path: Path, frames: list[TimelineFrame], *, maps: bool = False) -> Path:
    with TimelineWriter(path, **HEAD, maps=maps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def flood(reached: NDArray[np.bool_], start: tuple[int, int]) -> set[tuple[int, int]]:
    """Cells connected to ``start`` over their sides, the plain way."""
    found, edge = set(), [start]
    while edge:
        row, column = edge.pop()
        inside = 0 <= row < reached.shape[0] and 0 <= column < reached.shape[1]
        if inside and reached[row, column] and (row, column) not in found:
            found.add((row, column))
            edge += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return found


grids = st.tuples(st.integers(1, 14), st.integers(1, 14))
# Few different values, so that regions touch, ties occur and values equal the threshold.
maps_of_levels = grids.flatmap(lambda shape: arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))


@given(map=maps_of_levels, threshold=st.sampled_from([0.0, 0.25, 0.4, 0.5, 1.0, 2.0]))
def test_peak_and_box_against_a_flood_fill(map: NDArray[np.float32], threshold: float) -> None:
    height, width = map.shape
    peak, box = peak_and_box(map, threshold)
    row, column = np.unravel_index(map.argmax(), map.shape)
    assert peak == pytest.approx(((column + 0.5) / width, (row + 0.5) / height))
    cells = flood(map >= threshold, (int(row), int(column)))
    if not cells:
        assert box is None
        return
    rows, columns = zip(*cells, strict=True)
    edges = (min(columns) / width, min(rows) / height, (max(columns) + 1) / width, (max(rows) + 1) / height)
    assert box == pytest.approx(edges)
    assert box[0] < peak[0] < box[2]
    assert box[1] < peak[1] < box[3]


def test_cells_that_touch_at_a_corner_are_not_connected() -> None:
    assert peak_and_box(np.array([[0.9, 0.0], [0.0, 0.8]], np.float32), 0.5) == ((0.25, 0.25), (0.0, 0.0, 0.5, 0.5))


def test_not_a_number_is_never_the_peak() -> None:
    assert peak_and_box(np.array([[np.nan, 0.6]], np.float32), 0.5) == ((0.75, 0.5), (0.5, 0.0, 1.0, 1.0))
    assert peak_and_box(np.full((2, 2), np.nan, np.float32), 0.5) == (None, None)


shares = st.floats(0, 1)
frames = st.builds(
    TimelineFrame,
    time_seconds=st.floats(0, 1e6),
    score=st.floats(allow_nan=True, allow_infinity=True),
    sounding=st.booleans(),
    peak=st.none() | st.tuples(shares, shares),
    box=st.none() | st.tuples(shares, shares, shares, shares),
    map=st.none() | arrays(np.float32, (2, 3), elements=st.floats(width=32)),
)


@settings(max_examples=50)
@given(entries=st.lists(frames, max_size=5), maps=st.booleans())
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, entries: list[TimelineFrame], maps: bool
) -> None:
    path = write(tmp_path_factory.mktemp("timeline") / "clip.json", entries, maps=maps)
    strict = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    timeline = read_timeline(path)
    assert timeline == strict
    assert {key: timeline[key] for key in HEAD} == HEAD
    assert len(timeline["frames"]) == len(entries)
    for entry, read in zip(entries, timeline["frames"], strict=True):
        assert list(read) == ["time_seconds", "score", "sounding", "peak", "box"] + ["map"] * maps
        assert read["time_seconds"] == pytest.approx(entry.time_seconds, abs=1e-6)
        same(read["score"], entry.score)
        same(read["peak"], entry.peak)
        same(read["box"], entry.box)
        if maps:
            same(read["map"], None if entry.map is None else entry.map.tolist())


def same(read: Any, meant: Any) -> None:
    """Equal to four decimals; what no JSON number can hold is null."""
    if isinstance(meant, list | tuple):
        for one, other in zip(read, meant, strict=True):
            same(one, other)
    elif meant is None or not math.isfinite(meant):
        assert read is None
    else:
        assert read == pytest.approx(meant, rel=1e-12, abs=6e-5)


def test_the_file_has_a_line_per_frame_and_short_numbers(tmp_path: Path) -> None:
    entry = TimelineFrame(
        time_seconds=1 / 3, score=2 / 3, sounding=np.True_, peak=(1 / 16, -0.0), map=np.full((1, 2), 1 / 3, np.float32)
    )
    lines = write(tmp_path / "clip.json", [entry, FRAME], maps=True).read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["{", '"format": "avol.timeline/1",']
    assert "clip ∿ ü.mp4" in lines[2]
    assert lines[6] == (
        '{"time_seconds": 0.333333, "score": 0.6667, "sounding": true, "peak": [0.0625, 0.0], "box": null, '
        '"map": [[0.3333, 0.3333]]},'
    )
    assert lines[7].endswith('"map": null}')
    assert lines[8:] == ["]", "}"]


def test_a_file_name_that_is_not_unicode_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    with TimelineWriter(tmp_path / "clip.json", source={"path": name}, model={}, analysis={}):
        pass
    assert os.fsencode(read_timeline(tmp_path / "clip.json")["source"]["path"]) == b"caf\xe9.mp4"


def test_entries_reach_the_disk_while_the_run_goes(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"
    with TimelineWriter(path, **HEAD) as writer:
        for _ in range(2000):
            writer.write(FRAME)
        assert path.stat().st_size > 100_000


def test_an_error_leaves_a_file_that_is_not_taken_for_a_timeline(tmp_path: Path) -> None:
    path = tmp_path / "clip.json"

    def stop() -> None:
        with TimelineWriter(path, **HEAD) as writer:
            writer.write(FRAME)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop()
    with pytest.raises(AvolError, match="not complete JSON"):
        read_timeline(path)


@given(share=st.floats(0, 0.999))
def test_a_cut_off_timeline_is_refused(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = write(tmp_path_factory.mktemp("timeline") / "clip.json", [FRAME, FRAME])
    text = path.read_bytes().rstrip()
    path.write_bytes(text[: int(len(text) * share)])
    with pytest.raises(AvolError, match=r"clip\.json: not complete JSON"):
        read_timeline(path)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"[]", "its format is None"),
        (b'{"format": "avol.timeline/9"}', "avol.timeline/9"),
        (b'{"format": "avol.timeline/1"}', "lacks"),
        (b'{"format": "avol.timeline/1", "source": {}, "model": {}, "analysis": {}, "frames": 1}', "lacks"),
        (b"\xff\xfe\x00", "not complete JSON"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, fact: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(AvolError, match=fact) as caught:
        read_timeline(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_timeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match="No such file"):
        read_timeline(tmp_path / "missing.json")


def test_a_file_that_cannot_be_created_is_one_line_with_the_name_the_user_knows(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match=r"^clip\.json: cannot be written: No such file"):
        TimelineWriter(tmp_path / "missing" / ".clip.partial.json", **HEAD, shown_as=Path("clip.json"))


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """In a process of its own: a limit on the size of files stands for the full disk."""
    program = f"""
        import resource, sys
        from pathlib import Path
        from avol.runtime.errors import AvolError
        from avol.runtime.timeline import TimelineFrame, TimelineWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), {resource.RLIM_INFINITY}))
        try:
            with TimelineWriter(Path(sys.argv[1]), source={{}}, model={{}}, analysis={{}}) as writer:
                for k in range(300):
                    writer.write(TimelineFrame(time_seconds=k / 10, score=0.5, sounding=True))
        except AvolError as error:
            sys.exit(str(error))
    """
    path = tmp_path / "clip.json"
    run = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    assert subprocess.run([*run, "10000000"], check=False).returncode == 0
    for limit in (0, 10_000, path.stat().st_size - 1):
        result = subprocess.run([*run, str(limit)], check=False, capture_output=True, text=True)
        assert result.returncode == 1, limit
        assert result.stderr.startswith(f"{path}: cannot be written: File too large")
        assert result.stderr.count("\n") == 1
