"""``avol train`` from prepared pairs, and what it says when it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from avol.apps import cli
from avol.train.checkpoint import read_checkpoint_spec
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
    # The same command finds the run finished; another recipe, another run.
    assert train(tmp_path / "run", *arguments) == 0
    assert train(tmp_path / "run", *arguments, "--learning-rate", "0.5") == 1


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


def test_another_run_shows_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    state = {"step": 1, "preset": "avol-224", "network": {}, "anchors": {}, "optimizer": {}, "training": {}}
    torch.save(state, out / "state.pt")
    assert "holds a run of avol-224" in one_line(capsys, out, "--scenes", "100000")
