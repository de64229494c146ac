"""Prepared clips on disk: what goes in comes out, slice by slice, and damage is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from avol.runtime.errors import AvolError
from avol.train.data import shards
from avol.train.data.prepare_settings import SETTINGS_FILE, Settings, read_settings, write_settings
from avol.train.data.shard_files import SHARD_FOLDER, ClipData, ClipRecord, write_shard
from avol.train.data.shards import ClipStore, is_prepared, load_clips, read_shards
from avol.train.network import preset_spec

SIDE = 18
SETTINGS = Settings(frame_side=SIDE, sample_rate_hz=16_000, margin_samples=8194)


def clip(number: int, *, frames: int = 3, samples: int = 500, piece: int = 0, label: str | None = None) -> ClipData:
    """A clip whose pixels, times and samples are random, and its own."""
    rng = np.random.default_rng([number, piece])
    record = ClipRecord(
        file=f"/films/{number}.mp4",
        label=label,
        video_id=str(number),
        piece=piece,
        is_last=True,
        start_seconds=10.0 * piece,
        duration_seconds=10.0,
        first_frame=0,
        frame_count=frames,
        first_sample=0,
        sample_count=samples,
        first_sample_seconds=9.5 * piece,
        size_bytes=number,
        mtime_ns=number,
        file_digest=str(number),
        content_digest=f"{number} {piece}",
        silent_share=0.0,
        is_still=False,
    )
    return ClipData(
        record=record,
        frames=rng.integers(0, 256, (frames, SIDE, SIDE, 3), np.uint8),
        frame_times_seconds=10.0 * piece + np.sort(rng.random(frames)),
        samples=rng.integers(-(2**15), 2**15, samples, np.int16),
    )


def folder_with(folder: Path, *parts: tuple[str, list[ClipData]], of: Settings = SETTINGS) -> Path:
    (folder / SHARD_FOLDER).mkdir(parents=True)
    write_settings(folder, of)
    for part, clips in parts:
        write_shard(folder, part, clips)
    return folder


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 300)), min_size=1, max_size=6), data=st.data())
def test_slices_are_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    clips = [clip(number, frames=frames, samples=samples) for number, (frames, samples) in enumerate(sizes)]
    store = ClipStore(folder_with(tmp_path_factory.mktemp("pairs") / "p", ("train", clips)))
    assert len(store) == len(clips)
    for stored, written in zip(store, clips, strict=True):
        first = data.draw(st.integers(0, len(written.frames)))
        last = data.draw(st.integers(first, len(written.frames)))
        assert np.array_equal(stored.frames[first:last], written.frames[first:last])
        assert np.array_equal(stored.frames, written.frames)
        assert np.array_equal(stored.times_seconds, written.frame_times_seconds)
        start = data.draw(st.integers(0, len(written.samples)))
        assert np.array_equal(stored.samples[start:], written.samples[start:])
        assert (stored.frames.dtype, stored.samples.dtype) == (np.uint8, np.int16)


def test_parts_are_apart_and_labels_and_clocks_are_kept(tmp_path: Path) -> None:
    first, second = clip(1, label="banjo"), clip(1, piece=2)
    folder = folder_with(tmp_path / "pairs", ("train", [first, second]), ("test", [clip(2)]))
    train, test = ClipStore(folder, "train"), ClipStore(folder, "test")
    assert [len(train), len(test), len(ClipStore(folder, "validation")), len(ClipStore(folder, None))] == [2, 1, 0, 3]
    assert [(item.file, item.video_id, item.label) for item in train] == [
        ("/films/1.mp4", "1", "banjo"),
        ("/films/1.mp4", "1", None),
    ]
    # Time zero of a clip is its first sample.
    assert np.allclose(train[1].times_seconds, second.frame_times_seconds - 19.0)
    assert train[0:2] == list(train)
    with pytest.raises(ValueError, match="part is 'tarin'"):
        ClipStore(folder, "tarin")


def test_frames_are_views_of_the_file_and_cannot_be_changed(tmp_path: Path) -> None:
    store = ClipStore(folder_with(tmp_path / "pairs", ("train", [clip(1), clip(2)])))
    one, other = store[0].frames, store[1].frames
    assert np.shares_memory(store[0].frames, one)
    assert one.base is not None
    assert not np.shares_memory(one, other)
    with pytest.raises(ValueError, match="read-only"):
        one[0, 0, 0, 0] = 1


def test_few_shards_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAPPED_SHARDS", 2)
    folder = folder_with(tmp_path / "pairs", *(("train", [clip(number)]) for number in range(8)))
    store = ClipStore(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    means = [float(item.frames.mean()) for item in store]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
    expected = {f"/films/{number}.mp4": float(clip(number).frames.mean()) for number in range(8)}
    assert means == [expected[item.file] for item in store]


def test_a_clip_in_two_shards_is_listed_once(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "pairs", ("train", [clip(1)]), ("train", [clip(1), clip(2)]))
    assert sorted(item.file for item in ClipStore(folder)) == ["/films/1.mp4", "/films/2.mp4"]


def test_clips_as_labelled_material(tmp_path: Path) -> None:
    written = clip(1, label="banjo")
    folder = folder_with(tmp_path / "pairs", ("train", [written, clip(2)]))
    (loaded,) = load_clips(folder)
    assert (loaded.label, loaded.file, loaded.video_id, loaded.boxes) == ("banjo", "/films/1.mp4", "1", [])
    assert np.array_equal(loaded.frames, written.frames)
    assert np.array_equal(loaded.samples, written.samples)


def test_settings_are_kept(tmp_path: Path) -> None:
    changed = replace(SETTINGS, frames_per_second=12.5, split=(0.5, 0.25, 0.25), drop_still=True)
    folder = folder_with(tmp_path / "pairs", of=changed)
    assert is_prepared(folder)
    assert read_settings(folder) == changed
    assert "av" in json.loads((folder / SETTINGS_FILE).read_text())["versions"]


def test_another_preset_is_refused_and_one_of_the_same_sizes_is_not(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "pairs", of=replace(SETTINGS, frame_side=144))
    for preset in ("avol-128", "avol-128-half-width"):
        assert len(ClipStore(folder, spec=preset_spec(preset))) == 0
    with pytest.raises(AvolError, match=r"144 pixels .* takes 252 and 48000; prepare again with --preset avol-224"):
        ClipStore(folder, spec=preset_spec("avol-224"))


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "other", "sizes"])
def test_a_damaged_shard_is_one_line(tmp_path: Path, damage: str) -> None:
    folder = folder_with(tmp_path / "pairs", ("train", [clip(1)]))
    (path,) = (folder / SHARD_FOLDER).iterdir()
    content = path.read_bytes()
    changes = {
        "cut": content[:-100],
        "text": b"this is no shard at all",
        "empty": b"",
        "other": content.replace(b"avol.pairs/1", b"avol.pairs/9"),
        "sizes": content.replace(b'\\"frame_count\\": 3', b'\\"frame_count\\": 4'),
    }
    path.write_bytes(changes[damage])
    assert path.read_bytes() != content
    with pytest.raises(AvolError, match=r"a damaged shard \(.*\); delete it and run avol data prepare again"):
        ClipStore(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": "avol.pairs/2"}', '{"format": "avol.pairs/1"}'])
def test_bad_settings_are_one_line(tmp_path: Path, text: str) -> None:
    folder = folder_with(tmp_path / "pairs")
    (folder / SETTINGS_FILE).write_text(text)
    with pytest.raises(AvolError, match="not usable settings"):
        ClipStore(folder)


def test_not_a_prepared_folder(tmp_path: Path) -> None:
    assert not is_prepared(tmp_path)
    with pytest.raises(AvolError, match="not a prepared folder; make one with avol data prepare"):
        ClipStore(tmp_path / "absent")


def test_a_shard_that_goes_away_is_one_line(tmp_path: Path) -> None:
    store = ClipStore(folder_with(tmp_path / "pairs", ("train", [clip(1)])))
    store.shards[0].path.unlink()
    with pytest.raises(AvolError, match="cannot be read"):
        store[0].frames.sum()


def test_reading_needs_no_torch() -> None:
    code = "import sys, avol.train.data.shards, avol.train.data.prepare; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    clips = [clip(1), clip(2, frames=1, samples=0)]
    folder = folder_with(tmp_path / "pairs", ("train", clips))
    (path,) = (folder / SHARD_FOLDER).iterdir()
    tensors = load_file(path)
    assert np.array_equal(tensors["frames"], np.concatenate([each.frames for each in clips]))
    assert np.array_equal(tensors["samples"], clips[0].samples)
    times = np.concatenate([each.frame_times_seconds for each in clips])
    assert np.array_equal(tensors["frame_times_seconds"], times)


def test_tables_tell_where_clips_lie(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "pairs", ("validation", [clip(1, frames=2), clip(2, frames=4, samples=7)]))
    (shard,) = read_shards(folder, SETTINGS)
    assert shard.part == "validation"
    assert [(r.first_frame, r.frame_count, r.first_sample, r.sample_count) for r in shard.records] == [
        (0, 2, 0, 500),
        (2, 4, 500, 7),
    ]
