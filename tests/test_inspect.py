"""avol data inspect: counts that can be checked by hand, and a sheet that shows the clips."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from avol.apps import cli
from avol.train.data.contact_sheet import COLUMNS, GAP, SPECTROGRAM_HEIGHT, TILE, choose
from avol.train.data.inventory import take_inventory
from avol.train.data.shards import ClipStore
from media_factory import AudioTrack, VideoTrack, bursts, write_media


def still(index: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), (30, 120, 200), np.uint8)


def film(
    path: Path, *, marks: tuple[float, ...] = (0.5,), seconds: float = 1.5, codec: str = "pcm_s16le", **track: object
) -> Path:
    sound = AudioTrack(samples=bursts(marks, seconds=seconds, sample_rate=16_000), sample_rate=16_000, codec=codec)
    return write_media(path, VideoTrack(seconds=seconds, rate=10, **track), sound)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five films that give clips (one of them a remuxed copy), and one without sound."""
    films = tmp_path_factory.mktemp("films")
    film(films / "a.mkv")
    film(films / "a-again.mov")  # another container, the same pictures and sound
    film(films / "long.mkv", seconds=5.0, marks=(0.5, 3.0, 4.2))
    film(films / "still.mkv", picture=still, marks=(0.2,))
    film(films / "silent.mkv", marks=())
    write_media(films / "mute.mkv", VideoTrack())
    (films / "clips.csv").write_text(
        "file,label,video_id\na.mkv,banjo|voice,tape\nlong.mkv,banjo,tape\nstill.mkv,dog,\n"
    )
    out = tmp_path_factory.mktemp("out") / "pairs"
    options = ["--split", "1:0:0", "--piece-seconds", "2", "--jobs", "1"]
    assert cli.main(["data", "prepare", str(films), "--out", str(out), *options]) == 0
    return out


def test_counts(prepared: Path) -> None:
    inventory = take_inventory(prepared)
    train = inventory.parts["train"]
    assert {name: train[name] for name in ("videos", "files", "clips", "silent", "still")} == {
        "videos": 4,
        "files": 5,
        "clips": 7,
        "silent": 1,
        "still": 1,
    }
    assert train["hours"] * 3600 == pytest.approx(4 * 1.5 + 5.0, abs=0.3)
    assert inventory.parts["test"]["clips"] == 0
    assert inventory.classes == {
        "banjo": {"train": 4, "validation": 0, "test": 0},
        "(no label)": {"train": 2, "validation": 0, "test": 0},
        "dog": {"train": 1, "validation": 0, "test": 0},
        "voice": {"train": 1, "validation": 0, "test": 0},
    }
    durations = inventory.durations_seconds
    assert [durations[name] for name in ("shortest", "median", "longest")] == pytest.approx([1.0, 1.5, 2.0], abs=0.1)
    # Six bursts of a tenth of a second in eleven seconds.
    assert inventory.silent_share == pytest.approx(1 - 0.6 / 11, abs=0.01)
    assert inventory.left_out == {"no sound": 1}


def test_equal_clips_in_other_files_are_found(prepared: Path) -> None:
    (copies,) = take_inventory(prepared).copies
    assert [Path(file).name for file in copies.files] == ["a-again.mov", "a.mkv"]
    assert copies.parts == ["train", "train"]
    assert take_inventory(prepared).copies_across_parts == 0


def test_table_and_json(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", str(prepared)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["train", "4", "5", "7"]
    assert any(line.split() == ["banjo", "4", "0", "0"] for line in lines)
    assert "files left out: 1 (1 no sound)" in lines
    assert cli.main(["data", "inspect", str(prepared), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["parts"]["train"]["clips"] == 7
    assert record["settings"]["frame_side"] == 144
    assert record["copies_across_parts"] == 0


def test_sheet_shows_frames_and_sound(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert cli.main(["data", "inspect", str(prepared), "--sheet", str(sheet), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"]  # what is said of the sheet goes elsewhere
    pixels = cv2.imread(str(sheet))[:, :, ::-1]
    tile = (16 + TILE + SPECTROGRAM_HEIGHT + GAP, 2 * GAP + 3 * TILE)
    assert pixels.shape == (2 * tile[0], COLUMNS * tile[1], 3)
    order = [Path(clip.file).name for clip in choose(ClipStore(prepared, None), 24)]
    place = order.index("still.mkv")
    top, left = place // COLUMNS * tile[0] + 16, place % COLUMNS * tile[1] + GAP
    assert (
        np.abs(pixels[top + 5 : top + TILE - 5, left + 5 : left + 3 * TILE - 5].astype(int) - (30, 120, 200)).max() < 12
    )
    heat = pixels[top + TILE : top + TILE + SPECTROGRAM_HEIGHT, left : left + 3 * TILE].mean(axis=(0, 2))
    # The burst at 0.2 of 1.5 seconds is where the spectrogram is bright.
    assert np.argmax(heat) / (3 * TILE) == pytest.approx(0.25 / 1.5, abs=0.06)


def test_few_clips_on_the_sheet(prepared: Path, tmp_path: Path) -> None:
    assert cli.main(["data", "inspect", str(prepared), "--sheet", str(tmp_path / "s.png"), "--clips", "2"]) == 0
    assert cv2.imread(str(tmp_path / "s.png")).shape[1] == 2 * (2 * GAP + 3 * TILE)
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "inspect", str(prepared), "--clips", "0"])
    assert caught.value.code == 2


def test_mistakes_are_one_line(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    def one_line(*arguments: object) -> str:
        assert cli.main(["data", "inspect", *map(str, arguments)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "not a prepared folder" in one_line(tmp_path)
    assert "does not exist" in one_line(prepared, "--sheet", tmp_path / "absent" / "s.png")
    hollow = tmp_path / "hollow"
    (hollow / "shards").mkdir(parents=True)
    (hollow / "prepared.json").write_bytes((prepared / "prepared.json").read_bytes())
    assert "holds no clips yet" in one_line(hollow)
    (hollow / "shards" / "train-0.safetensors").write_bytes(b"nonsense")
    assert "a damaged shard" in one_line(hollow)
