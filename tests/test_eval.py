"""Evaluation by localisers whose figures are known beforehand."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avol.apps.cli import main
from avol.train.checkpoint import save_checkpoint
from avol.train.data.material import Material, load_material
from avol.train.evaluate import Evaluator, Results
from avol.train.evaluate_pairs import evaluate_pairs
from avol.train.metrics import Figure
from avol.train.network import build_network, preset_spec
from material_factory import CLIP_BOX, COLOURS, HERTZ, LABELS, colour_of, pitch_class, write_material

SPEC = preset_spec("avol-128-half-width")
FIGURES = {
    "composite_pairs_accuracy",
    "composite_pairs_auc",
    "photograph_mosaics_right_quarter",
    "clip_mosaics_right_quarter",
    "clip_peak_in_box",
    "clip_centre_in_box",
    "clip_peak_in_box_with_foreign_sound",
    "clip_iou",
    "clip_iou_with_foreign_sound",
    "clip_iou_of_centred_disc",
    "clip_mosaics_peak_in_box",
    "own_sound_over_silence_auc",
    "own_sound_over_foreign_auc",
}

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
Maps = NDArray[np.float32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"), photographs=12, sounds=8, clips=2)


@pytest.fixture(scope="module")
def material(folder: Path) -> Material:
    return load_material(folder, part="test", spec=SPEC)


def oracle(frames: Frames, samples: Samples) -> Maps:
    """Knows the world: hears the class by its pitch and finds its colour."""
    maps = np.full((len(frames), SPEC.grid_height, SPEC.grid_width), 0.1, np.float32)
    for values, frame, window in zip(maps, frames, samples, strict=True):
        label = pitch_class(window)
        if label is not None:
            shares = colour_of(label, frame).reshape(SPEC.grid_height, 16, SPEC.grid_width, 16).mean(axis=(1, 3))
            values[:] = np.where(shares.max() > 0.3, 0.1 + 0.8 * shares, 0.1)
    return maps


def constant(frames: Frames, _: Samples) -> Maps:
    """The same everywhere; the first cell counts as the peak."""
    return np.full((len(frames), SPEC.grid_height, SPEC.grid_width), 0.7, np.float32)


def deaf(frames: Frames, _: Samples) -> Maps:
    """Finds anything coloured, whatever is heard."""
    shares = np.stack([np.any([colour_of(label, frame) for label in LABELS], axis=0) for frame in frames])
    cells = shares.reshape(len(frames), SPEC.grid_height, 16, SPEC.grid_width, 16).mean(axis=(2, 4))
    return np.asarray(0.1 + 0.8 * cells, dtype=np.float32)


def test_oracle_is_right_about_everything(material: Material) -> None:
    figures = Evaluator(material, SPEC, list(LABELS)).everything(oracle).figures
    assert figures.keys() == FIGURES
    ious = {name for name in FIGURES if name.startswith("clip_iou")}
    for name in FIGURES - {"clip_centre_in_box", "clip_peak_in_box_with_foreign_sound"} - ious:
        assert (figures[name].value, figures[name].low, figures[name].high) == (1.0, 1.0, 1.0), name
    # Under the median rule half of the frame counts as found: nobody overlaps a box of a sixteenth by half.
    assert {figures[name].value for name in ious} == {0.0}
    # The box is beside the centre, and foreign sound shows the oracle nothing.
    assert figures["clip_centre_in_box"].value == 0.0
    assert figures["clip_peak_in_box_with_foreign_sound"].value == 0.0


def test_constant_is_at_chance(material: Material) -> None:
    figures = Evaluator(material, SPEC, list(LABELS)).everything(constant).figures
    for name in FIGURES:
        if name.endswith("_auc") or name.endswith("_accuracy"):
            assert figures[name].value == 0.5, name
    assert figures["photograph_mosaics_right_quarter"].value == pytest.approx(0.25, abs=0.06)
    assert figures["clip_mosaics_right_quarter"].value == pytest.approx(0.25, abs=0.08)
    for name in ("clip_peak_in_box", "clip_centre_in_box", "clip_peak_in_box_with_foreign_sound"):
        assert figures[name].value == 0.0


def test_a_model_without_a_map_is_asked_whether_and_not_where(material: Material) -> None:
    def whether(frames: Frames, samples: Samples) -> Maps:
        return oracle(frames, samples).max(axis=(1, 2), keepdims=True)

    figures = Evaluator(material, preset_spec("ave-net-128"), list(LABELS)).everything(whether).figures
    assert figures.keys() == {
        "composite_pairs_accuracy",
        "composite_pairs_auc",
        "own_sound_over_silence_auc",
        "own_sound_over_foreign_auc",
    }
    assert figures["own_sound_over_silence_auc"].value == 1.0


def test_deaf_localiser_is_betrayed_by_its_control(material: Material) -> None:
    """It finds every box, and finds it just as well with the wrong sound."""
    figures = Evaluator(material, SPEC, list(LABELS)).everything(deaf).figures
    assert figures["clip_peak_in_box"].value == 1.0
    assert figures["clip_peak_in_box_with_foreign_sound"].value == 1.0
    assert figures["own_sound_over_foreign_auc"].value == 0.5
    assert figures["own_sound_over_silence_auc"].value == 0.5
    assert figures["clip_mosaics_right_quarter"].value < 0.45


def test_wrong_polarity_is_below_chance(material: Material) -> None:
    def inverted(frames: Frames, samples: Samples) -> Maps:
        maps = oracle(frames, samples)
        return np.broadcast_to(1 - maps.max(axis=(1, 2), keepdims=True), maps.shape)

    results = Results()
    Evaluator(material, SPEC, list(LABELS)).composite_pairs(inverted, results, 100)
    assert results.figures["composite_pairs_auc"].value == 0.0
    assert results.figures["composite_pairs_accuracy"].value == 0.0
    assert {value for value, _ in results.by_class["composite_pairs_accuracy"].values()} == {0.0}
    assert sum(count for _, count in results.by_class["composite_pairs_accuracy"].values()) == 100


def test_box_in_the_centre_is_found_by_the_control(material: Material) -> None:
    clips = [dataclasses.replace(clip, boxes=[(0.4, 0.4, 0.6, 0.6)]) for clip in material.clips]
    moved = dataclasses.replace(material, clips=clips)
    results = Results()
    Evaluator(moved, SPEC, list(LABELS)).clip_boxes(constant, results)
    assert results.figures["clip_centre_in_box"].value == 1.0
    moved = dataclasses.replace(
        material, clips=[dataclasses.replace(clip, boxes=[(0.1, 0.1, 0.9, 0.9)]) for clip in material.clips]
    )
    Evaluator(moved, SPEC, list(LABELS)).clip_boxes(deaf, results)
    assert results.figures["clip_iou_of_centred_disc"].value == 1.0
    assert results.figures["clip_iou"].value < 1.0
    assert CLIP_BOX[2] < 0.4


def test_test_sets_are_a_function_of_the_seed(material: Material) -> None:
    def seen(seed: int) -> list[bytes]:
        shown: list[bytes] = []

        def spy(frames: Frames, samples: Samples) -> Maps:
            shown.append(frames.tobytes() + samples.tobytes())
            assert frames.dtype == np.uint8
            assert frames.shape[1:] == (128, 128, 3)
            assert samples.dtype == np.float32
            assert samples.shape == (len(frames), SPEC.spectrogram.clip_samples)
            return constant(frames, samples)

        Evaluator(material, SPEC, list(LABELS), seed=seed).photograph_mosaics(spy, Results(), 40)
        return shown

    assert seen(0) == seen(0)
    assert seen(0) != seen(1)


def test_only_trained_classes_are_shown(material: Material) -> None:
    evaluator = Evaluator(material, SPEC, ["banjo", "flute"])
    assert {photograph.label for photograph in evaluator.sets.photographs} == {"banjo", "flute"}
    assert {clip.label for clip in evaluator.sets.clips} == {"banjo", "flute"}
    # Two classes make pairs but no mosaics of four; no figure hangs or invents what is not there.
    assert evaluator.everything(oracle).figures.keys() == {"composite_pairs_accuracy", "composite_pairs_auc"}


def test_classes_too_alike_make_no_mosaics(material: Material) -> None:
    """Four classes of one family: none may be held against another, so nothing can be measured."""
    names = dict(zip(LABELS, ("guitar", "acoustic_guitar", "electric_guitar", "bass_guitar"), strict=True))

    def renamed(items: list) -> list:  # type: ignore[type-arg]
        return [dataclasses.replace(item, label=names[item.label]) for item in items]

    guitars = Material(
        photographs=renamed(material.photographs), sounds=renamed(material.sounds), clips=renamed(material.clips)
    )
    assert Evaluator(guitars, SPEC, list(names.values())).everything(oracle).figures == {}
    assert set(names) == set(HERTZ) == set(COLOURS)


def test_figure_reads_as_a_line() -> None:
    figure = Figure.share([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"])
    assert (figure.value, figure.count) == (0.75, 4)
    assert 0.5 <= figure.low <= 0.75 <= figure.high <= 1.0
    assert str(Figure(0.5, 0.25, 0.75, 12)) == " 50.0 %  [25.0, 75.0]  n=12"


# --- prepared pairs


@pytest.fixture(scope="module")
def pairs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of each class, all of them held out."""
    out = tmp_path_factory.mktemp("pairs") / "pairs"
    clips = [str(folder / "videos" / f"{label}-0.mkv") for label in LABELS]
    assert main(["data", "prepare", *clips, "--out", str(out), "--split", "1:1000000:0", "--jobs", "1"]) == 0
    return out


def test_prepared_pairs_by_who_knows_and_who_guesses(pairs: Path) -> None:
    known = evaluate_pairs(pairs, "validation", SPEC, oracle).figures
    assert {name: (figure.value, figure.count) for name, figure in known.items()} == dict.fromkeys(
        ("pairs_accuracy", "pairs_auc", "pairs_own_over_silence_auc"), (1.0, 4 * 8)
    )
    for localise in (constant, deaf):
        assert {figure.value for figure in evaluate_pairs(pairs, "validation", SPEC, localise).figures.values()} == {
            0.5
        }


def test_prepared_pairs_are_the_same_for_every_model(pairs: Path) -> None:
    asked: list[list[bytes]] = [[], []]
    for heard in asked:

        def spy(frames: Frames, samples: Samples, heard: list[bytes] = heard) -> Maps:
            heard.append(frames.tobytes() + samples.tobytes())
            return constant(frames, samples)

        evaluate_pairs(pairs, "validation", SPEC, spy)
    assert asked[0] == asked[1]


def test_command_measures_prepared_pairs_without_classes(
    pairs: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of a run will do."""
    save_checkpoint(build_network(SPEC), SPEC, tmp_path / "checkpoint.safetensors")
    assert main(["eval", str(tmp_path), str(pairs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["pairs_accuracy", "pairs_auc", "pairs_own_over_silence_auc"]
    assert all("(chance 50 %)" in line for line in lines[1:])
    assert "fewer than two videos" in refused(capsys, tmp_path, pairs, "--part", "test")
    assert "measured alone" in refused(capsys, tmp_path, pairs, folder)


# --- the command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build_network(SPEC)
    path = tmp_path_factory.mktemp("model") / "c.safetensors"
    save_checkpoint(network, replace(SPEC, training={"classes": ", ".join(LABELS)}), path)
    return path


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test sets of a few samples: the command is tested here, not the network."""
    monkeypatch.setattr(Evaluator.composite_pairs, "__defaults__", (16,))
    for name in ("photograph_mosaics", "clip_mosaics", "silence_and_foreign_sound"):
        monkeypatch.setattr(getattr(Evaluator, name), "__defaults__", (16,))


@pytest.mark.usefixtures("fewer")
def test_command_prints_and_writes_every_figure(
    checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    assert main(["eval", str(checkpoint), str(folder), "--part", "test", "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{checkpoint}: {SPEC.name} ")
    assert {line.split()[0] for line in lines[1:]} == FIGURES
    record = json.loads(path.read_text())
    assert record["figures"].keys() == FIGURES
    assert record["part"] == "test"
    assert len(record["model"]["sha256"]) == 64
    for figure in record["figures"].values():
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["eval", *map(str, arguments)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_command_refuses_what_is_no_model(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none" in refused(capsys, tmp_path / "none", folder)
    assert "spec.json" in refused(capsys, tmp_path, folder)


def test_command_refuses_a_model_without_classes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(build_network(SPEC), SPEC, path)
    assert "names no trained classes" in refused(capsys, path, folder)


def test_command_refuses_a_folder_without_lists(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "images.csv: no such list" in refused(capsys, checkpoint, tmp_path)


def test_command_refuses_material_of_other_classes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(build_network(SPEC), replace(SPEC, training={"classes": "sitar, tabla"}), path)
    assert "holds too little" in refused(capsys, path, folder, "--part", "test")


def test_command_refuses_a_result_that_cannot_be_written_before_it_measures(
    checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "does not exist" in refused(capsys, checkpoint, folder, "--json", tmp_path / "none" / "figures.json")
