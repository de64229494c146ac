"""``avol train`` from prepared pairs, and what it says when it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from avol.apps import cli
from avol.train.checkpoint import read_checkpoint_spec
from avol.train.data.classes import split_names
from material_factory import LABELS, read_list, write_list, write_material
from media_factory import AudioTrack, VideoTrack, bursts, write_media

VIDEOS = 12


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short films, ten to learn from and two held out."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(VIDEOS):
        sound = AudioTrack(
            samples=bursts((0.1 + 0.04 * number,), seconds=1.0, sample_rate=16_000),
            sample_rate=16_000,
            codec="pcm_s16le",
        )
        write_media(folder / f"{number}.mkv", VideoTrack(rate=5, width=96 + 2 * number), sound)
    out = tmp_path_factory.mktemp("pairs") / "pairs"
    split = ["--split", "70:30:0", "--jobs", "1"]
    assert cli.main(["data", "prepare", str(folder), "--out", str(out), *split]) == 0
    return out


def train(out: Path, *arguments: object) -> int:
    return cli.main(["train", "--out", str(out), "--device", "cpu", *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["report", "avol"])
def test_learns_from_prepared_pairs(pairs: Path, tmp_path: Path, recipe: str) -> None:
    arguments = ["--data", pairs, "--recipe", recipe, "--batch", 4, "--epochs", 2, "--pairs-per-clip", 1]
    assert train(tmp_path / "run", *arguments) == 0
    spec = read_checkpoint_spec(tmp_path / "run" / "checkpoint.safetensors")
    assert spec.training["recipe"] == recipe
    steps = int(spec.training["steps"])
    assert steps == 2 * -(-int(spec.training["clips"]) // 4)
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"validation_loss", "validation_accuracy"} <= records[-1].keys()
    assert records[-1]["step"] == steps
    assert [record["epoch"] for record in records if "epoch" in record][-1] == 2
    # The same command finds the run finished; another recipe, another run.
    assert train(tmp_path / "run", *arguments) == 0
    assert train(tmp_path / "run", *arguments, "--learning-rate", "0.5") == 1


@pytest.mark.slow
def test_labelled_material_is_validated_and_what_is_not_learnt_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clips of four classes, some of them held out by the list, and photographs of a fifth, which are too few."""
    folder = write_material(tmp_path / "material", photographs=4, sounds=4, clips=2)
    videos, images = read_list(folder / "videos.csv"), read_list(folder / "images.csv")
    for row in videos:
        row["split"] = row["split"].replace("test", "validation")
    for row in images[:3]:
        row["class"] = "Violin, fiddle"
    write_list(folder / "videos.csv", videos)
    write_list(folder / "images.csv", images)
    out = tmp_path / "run"
    assert train(out, "--data", folder, "--steps", 2, "--scenes", 0) == 0
    assert "1 classes are not learnt (Violin, fiddle): each needs clips, or sounds and 30" in capsys.readouterr().err
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert {"step", "validation_loss", "validation_accuracy", "validation_auc"} <= last.keys()
    spec = read_checkpoint_spec(out / "checkpoint.safetensors")
    assert split_names(spec.training["classes"]) == list(LABELS)
    # One class alone is nothing to learn from.
    for name in ("images", "audio", "videos"):
        rows = [row for row in read_list(folder / f"{name}.csv") if row["class"] == "banjo"]
        write_list(folder / f"{name}.csv", rows)
    alone = one_line(capsys, tmp_path / "alone", "--data", folder, "--scenes", 0)
    assert f"{folder}: the material holds one class that is both seen and heard" in alone


def one_line(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    capsys.readouterr()
    assert train(out, *arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (out / "checkpoint.safetensors").exists()
    return error


def test_mistakes_are_one_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    few = one_line(capsys, out, "--data", pairs)
    assert "source videos with sound, a batch takes 48; add videos or lower --batch" in few
    assert str(pairs) in few
    assert "prepare again with --preset avol-224" in one_line(capsys, out, "--data", pairs, "--preset", "avol-224")
    assert "learns from prepared pairs" in one_line(capsys, out, "--recipe", "report")
    assert "give one --data" in one_line(capsys, out, "--data", pairs, "--data", empty)
    assert "images.csv: no such list" in one_line(capsys, out, "--data", empty)
    assert "--device cuda:77: cannot be used" in one_line(capsys, out, "--device", "cuda:77")


@pytest.mark.parametrize(
    "option",
    [("--recipe", "magic"), ("--batch", "1"), ("--epochs", "0"), ("--learning-rate", "nan"), ("--scenes", "9")],
)
def test_usage_mistakes(tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train(tmp_path / "run", *option)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--scenes", 50), "--scenes does not go with the pairs"),
        (("--steps", 3, "--epochs", 3), "give one of them"),
        (("--seed", 2**63), "--seed must be at most"),
    ],
)
def test_what_would_be_passed_over_is_refused(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[object, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        train(tmp_path / "run", "--data", pairs, *given)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(tmp_path / "run", "--batch", 8)
    assert "--batch goes only with the pairs" in capsys.readouterr().err


def test_another_run_shows_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    state = {"step": 1, "preset": "avol-224", "network": {}, "anchors": {}, "optimizer": {}, "training": {}}
    torch.save(state, out / "state.pt")
    assert "holds a run of avol-224" in one_line(capsys, out, "--scenes", "100000")
