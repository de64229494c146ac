"""avol calibrate: what it fits, and that a model gets all of it or nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from avol.apps.cli import main
from avol.export.onnx_files import export_checkpoint
from avol.export.ranges import RANGES_FILE
from avol.export.recalibrate import engines_of, recalibrate
from avol.export.verify import compare_with_network
from avol.runtime.atomic import AtomicOutput
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder, read_spec
from avol.runtime.onnx_backend import OnnxBackend
from avol.runtime.spec import Calibration
from avol.runtime.system import AvolNetSystem
from avol.train import calibration as module
from avol.train.calibration import ScoredPairs, describe, fit, score_pairs
from avol.train.checkpoint import load_checkpoint, read_checkpoint_spec
from avol.train.figures.reliability import draw_reliability
from avol.train.network import preset_spec
from avol.train.protocols.model import OpenModel
from material_factory import LABELS, write_material
from test_protocols import oracle

SPEC = replace(preset_spec("avol-128-half-width"), training={"classes": ", ".join(LABELS)})
UNTOUCHED = {RANGES_FILE, "MODEL_CARD.md", "evaluation.json", "evaluation.int8.json"}
NEW = Calibration(scale=0.5, bias=-1.25)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"), photographs=6, sounds=4, clips=2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The bundled model: checkpoint, graphs with a calibration and without one, spec."""
    folder: Path = shutil.copytree(bundled_model_folder(), tmp_path / "model")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def inputs() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    return frames, (0.1 * rng.standard_normal((3, SPEC.spectrogram.clip_samples))).astype(np.float32)


def network_maps(checkpoint: Path, calibration: Calibration) -> NDArray[np.float32]:
    frames, samples = map(torch.from_numpy, inputs())
    with torch.no_grad():
        logits = load_checkpoint(checkpoint)(frames, samples)
    return np.asarray(torch.sigmoid(logits * calibration.scale + calibration.bias), np.float32)


# Writing


def test_every_file_of_a_model_gets_the_new_calibration(model: Path) -> None:
    hash_before = read_spec(model).weights_sha256
    written = recalibrate(model, NEW, 0.7, note="by hand")
    assert {path.name for path in written} == contents(model).keys() - UNTOUCHED
    spec = read_spec(model)
    assert (spec.calibration, spec.threshold, spec.weights_sha256) == (NEW, 0.7, hash_before)
    assert spec.training["calibration"] == "by hand"
    stored = read_checkpoint_spec(model / CHECKPOINT_FILE)
    assert (stored.calibration, stored.threshold, stored.training) == (NEW, 0.7, spec.training)
    # The runtime refuses graphs that disagree with the spec.
    with OnnxBackend(model) as backend:
        maps = AvolNetSystem(backend).localise_samples(*inputs())
    assert np.allclose(maps, network_maps(model / CHECKPOINT_FILE, NEW), atol=1e-4)
    assert max(compare_with_network(model / CHECKPOINT_FILE, model).values()) < 1e-4


def test_the_fused_graph_gets_it_as_well(tmp_path: Path) -> None:
    shutil.copy(bundled_model_folder() / CHECKPOINT_FILE, tmp_path)
    export_checkpoint(tmp_path / CHECKPOINT_FILE, tmp_path, roles=("pair",))
    recalibrate(tmp_path, NEW, 0.7)
    frames, samples = inputs()
    with OnnxBackend(tmp_path, graphs=("pair",)) as backend:
        maps, scores = backend.infer("pair", frames=frames, samples=samples)
    assert np.allclose(maps, network_maps(tmp_path / CHECKPOINT_FILE, NEW), atol=1e-4)
    assert np.allclose(scores, maps.max(axis=(1, 2)))


def test_calibrating_again_does_not_let_graphs_grow(model: Path) -> None:
    recalibrate(model, NEW, 0.7)
    nodes = len(onnx.load(model / "head.onnx").graph.node)
    recalibrate(model, Calibration(scale=3.0, bias=0.5), 0.2)
    recalibrate(model, NEW, 0.7)
    assert len(onnx.load(model / "head.onnx").graph.node) == nodes
    with OnnxBackend(model) as backend:
        maps = AvolNetSystem(backend).localise_samples(*inputs())
    assert np.allclose(maps, network_maps(model / CHECKPOINT_FILE, NEW), atol=1e-4)


def test_a_checkpoint_keeps_its_weights_bit_for_bit(model: Path) -> None:
    before = load_checkpoint(model / CHECKPOINT_FILE).state_dict()
    assert recalibrate(model / CHECKPOINT_FILE, NEW, 0.6) == [model / CHECKPOINT_FILE]
    after = load_checkpoint(model / CHECKPOINT_FILE)  # which checks the hash
    assert after.spec.calibration == NEW
    assert all(torch.equal(before[name], tensor) for name, tensor in after.state_dict().items())


def test_the_folder_of_a_run_is_its_checkpoint(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(model / CHECKPOINT_FILE, run)
    assert recalibrate(run, NEW, 0.6) == [run / CHECKPOINT_FILE]


def strange_graph(folder: Path) -> None:
    (folder / "spectrogram.onnx").write_bytes(b"no graph")


def foreign_graph(folder: Path) -> None:
    graph = onnx.load(folder / "audio.onnx")
    for item in graph.metadata_props:
        item.value = item.value.replace('"threshold": 0.5', '"threshold": 0.25')
    onnx.save(graph, folder / "audio.onnx")


def graph_without_sigmoid(folder: Path) -> None:
    graph = onnx.load(folder / "head.onnx")
    for node in graph.graph.node:
        node.op_type = node.op_type.replace("Sigmoid", "Tanh")
    onnx.save(graph, folder / "head.onnx")


def strange_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINT_FILE).write_bytes(b"\xff" * 64)


@pytest.mark.parametrize("spoil", [strange_graph, foreign_graph, graph_without_sigmoid, strange_checkpoint])
def test_a_model_that_cannot_take_it_stays_as_it_is(model: Path, spoil: Any) -> None:
    spoil(model)
    before = contents(model)
    with pytest.raises(AvolError) as caught:
        recalibrate(model, NEW, 0.7)
    assert "\n" not in str(caught.value)
    assert contents(model) == before


def test_a_full_disk_leaves_the_model_as_it_is(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = contents(model), Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "spec" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(AvolError, match="No space left"):
        recalibrate(model, NEW, 0.7)
    monkeypatch.undo()
    assert contents(model) == before


def test_engines_are_named(tmp_path: Path) -> None:
    (tmp_path / "frame.plan").write_bytes(b"")
    assert engines_of(tmp_path) == [tmp_path / "frame.plan"]
    assert engines_of(tmp_path / "checkpoint.safetensors") == []


# Fitting


def scored(scale: float, bias: float, count: int = 4000) -> ScoredPairs:
    """Pairs whose honest calibration is known: half of them true."""
    rng = np.random.default_rng(0)
    spread = 2.0
    true, false = rng.normal(spread / 2, np.sqrt(spread), count), rng.normal(-spread / 2, np.sqrt(spread), count)
    return ScoredPairs(
        kinds={"clips": count},
        true=(true - bias) / scale,
        false=(false - bias) / scale,
        silent=np.full(count, -9.0),
        groups=[str(number % 50) for number in range(count)],
    )


def test_fit_finds_an_honest_calibration() -> None:
    # The logit of two normal distributions of one variance is linear: here with slope and distance of one.
    pairs = scored(0.5, 0.8)
    fitted = fit(pairs)
    assert fitted.calibration.scale == pytest.approx(0.5, rel=0.1)
    assert fitted.calibration.bias == pytest.approx(0.8, abs=0.1)
    assert fitted.threshold == pytest.approx(0.5, abs=0.06)
    record = describe(pairs, SPEC, fitted, method="platt")
    assert record["after"]["expected_calibration_error"] < 0.03 < record["before"]["expected_calibration_error"]
    assert record["cross_fitted"]["expected_calibration_error"] < 0.04
    assert record["after"]["sounding_with_own_sound"]["value"] > 0.7
    assert record["after"]["sounding_with_foreign_sound"]["value"] < 0.3
    assert record["after"]["sounding_with_silence"] == 0.0
    json.dumps(record)


def test_temperature_leaves_the_bias_out() -> None:
    fitted = fit(scored(0.25, 0.0), method="temperature")
    assert fitted.calibration.bias == 0.0
    assert fitted.calibration.scale == pytest.approx(0.25, rel=0.1)


def test_false_alarms_are_kept_to_a_share() -> None:
    pairs = scored(1.0, 0.0)
    fitted = fit(pairs, false_alarms=0.05)
    assert np.mean(fitted.probabilities(pairs.false) >= fitted.threshold) == pytest.approx(0.05, abs=0.001)


def test_a_score_that_tells_nothing_is_not_calibrated() -> None:
    pairs = scored(1.0, 0.0)
    upside_down = replace(pairs, true=pairs.false, false=pairs.true)
    for method in ("platt", "temperature"):
        with pytest.raises(AvolError, match="no higher for true pairs"):
            fit(upside_down, method=method)


def test_diagram_shows_bins_and_threshold() -> None:
    pairs = scored(0.5, 0.8)
    record = describe(pairs, SPEC, fit(pairs), method="platt")
    figure = draw_reliability(record)
    for axes, stage in zip(figure.axes, ("before", "after"), strict=True):
        (dots,) = [item for item in axes.collections if item.get_gid() == "bins"]
        bins = record[stage]["reliability"]
        assert np.allclose(dots.get_offsets(), [(found["probability"], found["share"]) for found in bins])
        (line,) = [item for item in axes.lines if item.get_gid() == "threshold"]
        assert line.get_xdata()[0] == record[stage]["threshold"]


def test_labelled_material_is_asked_about_pictures_and_clips(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOGRAPH_PAIRS", 24)
    monkeypatch.setattr(module, "CLIP_PAIRS", 16)
    pairs = score_pairs(OpenModel(SPEC, oracle), [material], part="train")
    assert pairs.kinds == {"photographs": 24, "clips": 16}
    assert (len(pairs.true), len(pairs.false), len(pairs.silent), len(pairs.groups)) == (40, 40, 16, 40)
    assert pairs.true.min() > pairs.false.max()
    assert np.allclose(pairs.silent, np.log(0.1 / 0.9), atol=1e-5)  # what the oracle says of silence, as a logit


# The command


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOGRAPH_PAIRS", 24)
    monkeypatch.setattr(module, "CLIP_PAIRS", 16)
    monkeypatch.setattr("avol.train.protocols.model.open_model", lambda path: OpenModel(read_spec(path), oracle))


@pytest.fixture
def trained(model: Path) -> Path:
    """The model under a spec with the material's classes."""
    text = (model / "spec.json").read_text()
    spec = read_spec(model)
    classes = spec.training["classes"]
    (model / "spec.json").write_text(text.replace(classes, ", ".join(LABELS)))
    for path in model.glob("*.onnx"):
        graph = onnx.load(path)
        for item in graph.metadata_props:
            item.value = item.value.replace(classes, ", ".join(LABELS))
        onnx.save(graph, path)
    return model


@pytest.mark.usefixtures("few")
def test_command_writes_report_and_model(
    trained: Path, material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(trained), str(material), "--part", "train", "--report", str(tmp_path / "report")]
    before = contents(trained)
    assert main([*words, "--dry-run"]) == 0
    assert contents(trained) == before
    record = json.loads((tmp_path / "report" / "calibration.json").read_text())
    assert (tmp_path / "report" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(words) == 0
    out = capsys.readouterr().out
    spec = read_spec(trained)
    assert spec.threshold == record["after"]["threshold"]
    assert spec.calibration == Calibration(scale=record["after"]["scale"], bias=record["after"]["bias"])
    assert spec.training["calibration"].startswith("platt on the train part")
    assert "expected calibration error" in out
    with OnnxBackend(trained) as backend:
        assert backend.spec == spec
    assert contents(tmp_path / "report").keys() == {"calibration.json", "reliability.png"}


@pytest.mark.usefixtures("few")
def test_command_that_fails_at_the_end_leaves_model_and_reports(
    trained: Path, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "calibration.json").write_text("of an earlier run")
    (trained / "spectrogram.onnx").write_bytes(b"no graph")
    before = contents(trained)
    words = ["calibrate", str(trained), str(material), "--part", "train", "--report", str(report)]
    assert main(words) == 1
    assert "spectrogram.onnx" in capsys.readouterr().err
    assert contents(trained) == before
    assert contents(report) == {"calibration.json": b"of an earlier run"}


def test_command_refuses_the_test_part_and_impossible_shares(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--part", "test"], ["--false-alarms", "2"], ["--method", "isotonic"]):
        with pytest.raises(SystemExit) as caught:
            main(["calibrate", "m", "d", *words])
        assert caught.value.code == 2
        assert "usage:" in capsys.readouterr().err


def test_command_refuses_what_is_no_model_or_no_data(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([str(tmp_path / "none"), str(material)], [str(bundled_model_folder()), str(tmp_path)]):
        assert main(["calibrate", *words, "--report", str(tmp_path / "report")]) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_beside_is_committed_with_the_model(model: Path, tmp_path: Path) -> None:
    with AtomicOutput(tmp_path / "beside.txt") as beside:
        beside.temporary.write_text("x")
        recalibrate(model, NEW, 0.7, beside=(beside,))
    assert (tmp_path / "beside.txt").read_text() == "x"


def test_prepared_clips_are_asked_about_sounds_of_other_videos(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "CLIP_PAIRS", 16)
    words = ["data", "prepare", str(material / "videos"), "--out", str(tmp_path / "pairs"), "--split", "1:1:0"]
    assert main([*words, "--preset", SPEC.preset]) == 0
    capsys.readouterr()
    pairs = score_pairs(OpenModel(SPEC, oracle), [tmp_path / "pairs"], part="train")
    assert pairs.kinds == {"clips": 16}
    assert len(set(pairs.groups)) > 1
    # The oracle finds what it hears, except in the clip that does not show its source.
    assert [logit > 0 for logit in pairs.true] == [group != "hidden" for group in pairs.groups]
    assert pairs.false.min() == pytest.approx(np.log(0.1 / 0.9), abs=1e-5)
    with pytest.raises(AvolError, match="give one folder"):
        score_pairs(OpenModel(SPEC, oracle), [tmp_path / "pairs", material], part="train")
