"""A whole export in three precisions, calibration, what two systems are compared on, and ``avol verify``."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avol.apps.cli import main
from avol.export import job
from avol.export.bundle import main as bundle_main
from avol.export.calibrate import METHODS, MagnitudeHistogram, choose_ranges
from avol.export.compare import Check, Comparison, Outputs, compare, judge, lower_precision
from avol.export.eight_bits import range_names
from avol.export.job import GATE_KEY, Exported, export_model
from avol.export.moments import load_moments, synthetic_moments
from avol.export.ranges import RANGES_FILE, Ranges, read_ranges
from avol.export.report import HEADING, Row, measure
from avol.export.systems import open_system
from avol.export.towers import fold_batch_norms
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder, bundled_sample, read_spec
from avol.train.checkpoint import load_checkpoint
from media_factory import AudioTrack, VideoTrack, bursts, write_media
from tiny_model import PRESET, example_moments, save_tiny, tiny_preset

REDUCED = ("audio", "frame", "waveform-audio", "pair")
FP32 = (*REDUCED, "spectrogram", "head")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two short videos, one without sound, and a text."""
    folder = tmp_path_factory.mktemp("clips")
    for number in (1, 2):
        track = AudioTrack(
            samples=bursts([0.2 * number], seconds=1.2, sample_rate=16000), sample_rate=16000, codec="aac"
        )
        write_media(folder / f"{number}.mp4", VideoTrack(seconds=1.2, rate=10), track)
    write_media(folder / "mute.mp4", VideoTrack(seconds=0.5, rate=10), None)
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Iterator[tuple[Path, Exported, list[str]]]:
    """The tiny network's folder in three precisions, calibrated on the clips; what was reported."""
    folder, lines = tmp_path_factory.mktemp("tiny"), list[str]()
    with tiny_preset(), pytest.MonkeyPatch.context() as patch:
        checkpoint = save_tiny(folder)
        patch.setattr(job, "judging_moments", lambda spec, _: example_moments(spec, 40, seed=3))
        # An untrained network's maps are flat: eight bits may move their peaks.
        found = export_model(checkpoint, folder / "out", calibration=clips, force=True, report=lines.append)
        yield folder, found, lines


@pytest.fixture
def again(exported: tuple[Path, Exported, list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Exported]:
    """Exports once more, with the graphs of the first time in place of tracing."""
    folder, first, _ = exported

    def build(_: object, __: object, *, precision: str = "fp32", ranges: Ranges | None = None) -> list[onnx.ModelProto]:
        assert (precision == "int8") <= (ranges is not None)
        names = [f"{r}.onnx" for r in FP32] if precision == "fp32" else [f"{r}.{precision}.onnx" for r in REDUCED]
        copies = [onnx.ModelProto.FromString(first.models[name].SerializeToString()) for name in names]
        for model in copies:
            kept = [item for item in model.metadata_props if item.key != GATE_KEY]
            del model.metadata_props[:]
            model.metadata_props.extend(kept)
        return copies

    monkeypatch.setattr(job, "build_models", build)
    monkeypatch.setattr(job, "judging_moments", lambda spec, _: example_moments(spec, 4, seed=3))
    return lambda out, **options: export_model(
        folder / CHECKPOINT_FILE, out, **{"report": lambda _: None, "force": True, **options}
    )


def metadata(path: Path) -> dict[str, str]:
    return {item.key: item.value for item in onnx.load(path).metadata_props}


# --- the export


def test_a_folder_holds_every_precision(exported: tuple[Path, Exported, list[str]]) -> None:
    folder, found, lines = exported
    expected = {f"{role}.onnx" for role in FP32} | {f"{r}.{p}.onnx" for r in REDUCED for p in ("fp16", "int8")}
    assert {path.name for path in (folder / "out").iterdir()} == expected | {"spec.json", RANGES_FILE}
    assert {path.name for path in found.files} == expected | {"spec.json", RANGES_FILE}
    ranges = read_ranges(folder / "out" / RANGES_FILE, found.spec)
    assert ranges.source.startswith("6 frames of 1 videos of clips")
    assert "/" not in ranges.source
    assert any(line.startswith("judging on 40") for line in lines)


def test_every_reduced_graph_says_how_it_was_judged(exported: tuple[Path, Exported, list[str]]) -> None:
    folder, found, _ = exported
    assert [verdict.precision for verdict in found.verdicts] == ["fp16", "int8"]
    for verdict in found.verdicts:
        assert 0 < verdict.found.sounding < verdict.found.count == 40
        assert f"(n={verdict.found.sounding} frames above the threshold of 40)" in str(verdict)
        for role in REDUCED:
            assert metadata(folder / "out" / f"{role}.{verdict.precision}.onnx")[GATE_KEY] == str(verdict)
    assert GATE_KEY not in metadata(folder / "out" / "pair.onnx")


def test_half_precision_passes(exported: tuple[Path, Exported, list[str]]) -> None:
    verdict = exported[1].verdicts[0]
    assert verdict.failures == ""
    assert str(verdict).startswith("passed")


def test_the_table_has_a_row_per_graph(exported: tuple[Path, Exported, list[str]]) -> None:
    rows = measure(exported[1])
    assert {row.path for row in rows} == {path for path in exported[1].files if path.suffix == ".onnx"}
    for row in rows:
        assert row.size_bytes == row.path.stat().st_size
        assert row.milliseconds > 0
        assert row.difference <= {"fp32": 1e-4, "fp16": 0.02, "int8": 0.5}[row.precision], row
        assert (row.agreement is not None) == row.path.name.startswith("pair")
        assert row.path.name in str(row)
    (pair,) = [row for row in rows if row.path.name == "pair.onnx"]
    assert pair.agreement is not None
    assert pair.agreement[0] == 1.0


def test_what_fails_is_not_written(
    again: Callable[..., Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Any
) -> None:
    monkeypatch.setattr(
        job, "judge", lambda _, precision: [Check("peak", "1 %", ">= 98 %", passed=precision == "fp16")]
    )
    shutil.copy(exported[0] / "out" / RANGES_FILE, exported[0])
    found = again(tmp_path / "out", force=False)
    assert [(v.precision, v.written) for v in found.verdicts] == [("fp16", True), ("int8", False)]
    assert str(found.verdicts[1]).startswith("failed: peak 1 %, wanted >= 98 %")
    assert not list((tmp_path / "out").glob("*.int8.onnx"))
    assert not (tmp_path / "out" / RANGES_FILE).exists()  # it goes with them: an earlier one stays with earlier graphs
    assert (tmp_path / "out" / "pair.fp16.onnx").is_file()
    forced = again(tmp_path / "forced")
    assert forced.verdicts[1].written
    assert metadata(tmp_path / "forced" / "pair.int8.onnx")[GATE_KEY].startswith("failed: peak 1 %")


def test_int8_without_calibration(again: Callable[..., Exported], tmp_path: Path, exported: Any) -> None:
    (exported[0] / RANGES_FILE).unlink(missing_ok=True)
    lines: list[str] = []
    again(tmp_path / "out", report=lines.append)
    assert any(line.startswith("no int8 graphs: ") and "give --calibration DATA" in line for line in lines)
    assert not list((tmp_path / "out").glob("*.int8.onnx"))
    assert (tmp_path / "out" / "pair.fp16.onnx").is_file()
    with pytest.raises(AvolError, match="int8 needs calibration: give --calibration DATA"):
        again(tmp_path / "none", precisions=("int8",))
    assert not (tmp_path / "none").exists()


def test_graphs_of_another_model_are_not_left_beside_new_ones(
    again: Callable[..., Exported], tmp_path: Path, exported: Any
) -> None:
    model = onnx.load(exported[0] / "out" / "pair.int8.onnx")
    for item in model.metadata_props:
        item.value = item.value.replace(exported[1].spec.weights_sha256, "0" * 64)
    (tmp_path / "out").mkdir()
    onnx.save(model, tmp_path / "out" / "pair.int8.onnx")
    (tmp_path / "out" / "mine.onnx").write_text("not a graph")
    with pytest.raises(AvolError, match=r"pair\.int8\.onnx: belongs to another model"):
        again(tmp_path / "out", precisions=("fp32",))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine.onnx", "pair.int8.onnx"]


@pytest.mark.parametrize(
    ("old", "new", "field"), [("0.5", "0.75", "threshold"), (onnx.__version__, "1.0", "versions.onnx")]
)
def test_graphs_that_the_new_spec_does_not_fit_are_said_before_anything_long(
    again: Callable[..., Exported], tmp_path: Path, exported: Any, monkeypatch: pytest.MonkeyPatch,
    old: str, new: str, field: str,
) -> None:  # fmt: skip
    model = onnx.load(exported[0] / "out" / "pair.fp16.onnx")
    for item in model.metadata_props:
        item.value = item.value.replace(f'": {old}', f'": {new}').replace(f'"{old}"', f'"{new}"')
    (tmp_path / "out").mkdir()
    onnx.save(model, tmp_path / "out" / "pair.fp16.onnx")
    monkeypatch.setattr(job, "judging_moments", lambda *_: pytest.fail("went on"))
    with pytest.raises(AvolError, match=rf"pair\.fp16\.onnx: belongs to another .* differ in {field}; delete it"):
        again(tmp_path / "out", precisions=("fp32",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pair.fp16.onnx"]


def test_rows_without_a_frame_above_the_threshold_or_a_map() -> None:
    row = Row(Path("pair.onnx"), "fp32", 1000, 0.0, (float("nan"), 0), 1.0)
    assert "- of 0" in str(row)
    assert "nan" not in str(row)
    assert len(str(row)) == len(HEADING)


# --- ranges


@pytest.mark.parametrize("name", ["avol-128-half-width"])
def test_the_committed_ranges_are_the_bundled_models(name: str) -> None:
    folder = bundled_model_folder(name)
    network = load_checkpoint(folder / CHECKPOINT_FILE)
    ranges = read_ranges(folder / RANGES_FILE, network.spec)
    for role, tower in (("frame", network.frame_tower), ("audio", network.audio_tower)):
        assert list(ranges.towers[role]) == range_names(fold_batch_norms(tower))
    assert ranges.method in METHODS
    assert ranges.towers["frame"]["input"] <= 1.0  # pixels are scaled to -1..1


GOOD = Ranges(weights_sha256="0" * 64, method="minmax", source="", towers={"frame": {"input": 1}, "audio": {}})


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda v: v.update(format="avol.ranges/2"), "not of the format"),
        (lambda v: v.pop("method"), "it has the keys"),
        (lambda v: v.update(source=3), "a text is not one"),
        (lambda v: v["towers"].pop("audio"), "frame and audio"),
        (lambda v: v["towers"].update(audio=[1]), "not a positive number"),
        (lambda v: v["towers"]["frame"].update(input=0), "not a positive number"),
        (lambda v: v["towers"]["frame"].update(input=float("inf")), "not a positive number"),
        (lambda v: v["towers"]["frame"].update(input=True), "not a positive number"),
        (lambda v: v.update(weights_sha256="f" * 64), "calibration ranges of the weights ffffffffffff"),
    ],
)
def test_ranges_that_are_none(tmp_path: Path, change: Callable[[dict[str, Any]], object], fact: str) -> None:
    spec = dataclasses.replace(read_spec(bundled_model_folder()), weights_sha256="0" * 64)
    path, values = tmp_path / RANGES_FILE, json.loads(GOOD.to_json())
    path.write_text(json.dumps(values))
    assert read_ranges(path, spec) == GOOD
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(AvolError, match=fact) as caught:
        read_ranges(path, spec)
    assert "--calibration" in str(caught.value)
    for content in (b"", b"\xff\xfe", b"[1]", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(AvolError, match="no calibration ranges"):
            read_ranges(path, spec)


@given(
    values=hnp.arrays(np.float32, st.integers(1, 400), elements=st.floats(0, 1e4, width=32)),
    parts=st.integers(1, 5),
    method=st.sampled_from(METHODS),
)
def test_a_range_lies_within_what_was_seen(values: np.ndarray, parts: int, method: str) -> None:
    histogram = MagnitudeHistogram()
    for part in np.array_split(values, parts):
        if len(part):
            histogram.add(torch.from_numpy(part.copy()))
    largest = float(values.max())
    assert histogram.largest == largest
    if largest == 0.0:
        with pytest.raises(AvolError, match="nothing but zeros"):
            histogram.magnitude(method)
        return
    assert 0 < histogram.magnitude(method) <= largest
    assert histogram.magnitude("minmax") == largest


def test_outliers_are_clipped_by_all_but_minmax() -> None:
    rng = np.random.default_rng(0)
    values = np.abs(rng.standard_normal(200_000)).astype(np.float32)
    values[0] = 100.0
    histogram = MagnitudeHistogram()
    histogram.add(torch.from_numpy(values))
    found = {method: histogram.magnitude(method) for method in METHODS}
    assert found["minmax"] == 100.0
    assert found["percentile-99.9"] < found["percentile-99.99"] < found["percentile-99.999"] < 6.0
    assert found["percentile-99.9"] == pytest.approx(np.quantile(values, 0.999), abs=0.1)
    assert 2.0 < found["entropy"] < 10.0


def test_numbers_that_are_none_stop_the_calibration() -> None:
    with pytest.raises(AvolError, match="no numbers"):
        MagnitudeHistogram().add(torch.tensor([1.0, float("nan")]))
    with pytest.raises(AvolError, match="no such method"):
        MagnitudeHistogram().magnitude("median")


# --- moments


def test_plain_videos_are_split_between_calibrating_and_judging(clips: Path) -> None:
    spec = read_spec(bundled_model_folder())
    everything = load_moments(clips, spec)
    assert len(everything) == 12
    assert everything.foreign is not None
    assert everything.frames.shape == (12, spec.frame_height, spec.frame_width, 3)
    assert everything.own.shape == everything.foreign.shape == (12, spec.spectrogram.clip_samples)
    train, validation = (load_moments(clips, spec, part=part) for part in ("train", "validation"))
    assert len(train) + len(validation) == 12
    assert train.foreign is None  # of one video alone there is no foreign sound
    assert not np.array_equal(train.own, validation.own)
    one = load_moments(clips / "1.mp4", spec, part="validation", limit=3)
    assert len(one) == 3


def test_videos_that_cannot_be_used_are_left_out_and_counted(clips: Path, tmp_path: Path) -> None:
    spec = read_spec(bundled_model_folder())
    shutil.copy(clips / "1.mp4", tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    found = load_moments(tmp_path, spec)
    assert found.description == f"6 frames of 1 videos of {tmp_path} (1 left out that cannot be used)"
    (tmp_path / "1.mp4").write_bytes((clips / "1.mp4").read_bytes()[:500])
    with pytest.raises(AvolError, match=r"1\.mp4: "):
        load_moments(tmp_path, spec)


def test_the_same_moments_every_time(clips: Path) -> None:
    spec = read_spec(bundled_model_folder())
    one, other = (load_moments(clips, spec, limit=5, seed=1) for _ in range(2))
    for name in ("frames", "own", "foreign"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_synthetic_moments_have_sounds_of_what_is_not_seen() -> None:
    spec = read_spec(bundled_model_folder())
    moments = synthetic_moments(spec, first_seed=7, scenes=3)
    assert moments.foreign is not None
    assert len(moments) == len(moments.own) == len(moments.foreign)
    assert (np.abs(moments.own).max(axis=1) > 0).mean() > 0.9
    assert not any(
        np.array_equal(own, other) for own, other in zip(moments.own, moments.foreign, strict=True) if own.any()
    )


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("none", "no such file or folder"),
        ("notes", "holds no videos"),
        ("mute.mp4", "holds no clip with picture and sound"),
    ],
)
def test_data_that_holds_nothing(clips: Path, tmp_path: Path, name: str, fact: str) -> None:
    (tmp_path / "notes").mkdir()
    data = clips / name if name == "mute.mp4" else tmp_path / name
    with pytest.raises(AvolError, match=fact) as caught:
        load_moments(data, read_spec(bundled_model_folder()))
    assert str(data) in str(caught.value)


# --- comparing


def made(maps: Any, foreign: Any = None) -> Outputs:
    maps = np.asarray(maps, np.float32)
    count = len(maps)
    rest = np.zeros((count, 2, 1, 1), np.float32), np.zeros((count, 2), np.float32)
    return Outputs(*rest, maps, maps.max(axis=(1, 2)), None if foreign is None else np.asarray(foreign, np.float32))


def peaks_at(*cells: tuple[int, int]) -> Any:
    maps = np.full((len(cells), 8, 8), 0.1, np.float32)
    for number, cell in enumerate(cells):
        maps[number][cell] = 0.9
    return maps


def test_peaks_are_compared_where_the_reference_is_above_the_threshold() -> None:
    a = peaks_at((0, 0), (3, 3), (5, 5), (7, 7))
    a[3] *= 0.5  # below the threshold: wherever its peak goes, it does not count
    found = compare(made(a), made(peaks_at((0, 0), (4, 2), (5, 7), (0, 0))), threshold=0.5)
    assert (found.count, found.sounding) == (4, 3)
    assert found.same_peak == pytest.approx(1 / 3)
    assert found.near_peak == pytest.approx(2 / 3)  # diagonal neighbours are one cell away, (5, 7) is two
    assert found.accuracies is None


def test_a_tie_is_no_move() -> None:
    b = peaks_at((0, 0))
    b[0, 6, 6] = 0.9
    assert compare(made(peaks_at((6, 6))), made(b), threshold=0.5).same_peak == 1.0


def test_values_that_are_no_numbers_are_infinitely_far() -> None:
    b = peaks_at((0, 0))
    b[0, 1, 1] = np.nan
    found = compare(made(peaks_at((0, 0))), made(b), threshold=0.5)
    assert found.map_difference == float("inf")
    assert not all(check.passed for check in judge(found, "fp32"))


def comparison(**changes: Any) -> Comparison:
    values: dict[str, Any] = {
        "count": 900, "sounding": 600, "grid_difference": 0.0, "vector_difference": 0.0, "map_difference": 0.0,
        "map_mean_difference": 0.0, "score_difference": 0.0, "same_peak": 1.0, "near_peak": 1.0,
        "accuracies": (0.8, 0.8),
    }  # fmt: skip
    return Comparison(**{**values, **changes})


@pytest.mark.parametrize(
    ("precision", "changes", "passes"),
    [
        ("fp32", {}, True),
        ("fp32", {"map_difference": 9e-5, "same_peak": 0.5}, True),
        ("fp32", {"map_difference": 2e-4}, False),
        ("fp32", {"score_difference": 2e-4}, False),
        ("fp32", {"sounding": 0, "same_peak": float("nan"), "near_peak": float("nan")}, True),
        ("fp16", {"map_difference": 0.009, "same_peak": 0.99}, True),
        ("fp16", {"map_difference": 0.011}, False),
        ("fp16", {"same_peak": 0.985}, False),
        ("fp16", {"sounding": 0, "same_peak": float("nan"), "near_peak": float("nan")}, False),
        ("int8", {"map_difference": 0.5, "same_peak": 0.7, "near_peak": 0.98, "accuracies": (0.8, 0.791)}, True),
        ("int8", {"near_peak": 0.979}, False),
        ("int8", {"accuracies": (0.8, 0.789)}, False),
        ("int8", {"accuracies": (0.8, 0.9)}, True),
        ("int8", {"accuracies": None}, False),
        ("int8", {"map_difference": float("inf")}, False),
        ("fp16", {"accuracies": None}, True),
        ("int8", {"sounding": 0, "same_peak": float("nan"), "near_peak": float("nan")}, False),
    ],
)
def test_tolerances(precision: str, changes: dict[str, Any], *, passes: bool) -> None:
    assert all(check.passed for check in judge(comparison(**changes), precision)) is passes


def test_the_lower_precision_sets_the_tolerance() -> None:
    assert lower_precision("fp32", "fp16") == lower_precision("fp16", "fp32") == "fp16"
    assert lower_precision("int8", "fp16") == "int8"


# --- avol verify


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["verify", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_verify_passes_and_fails(
    exported: tuple[Path, Exported, list[str]], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = exported[0] / CHECKPOINT_FILE, exported[0] / "out"
    status, text, error = verify(capsys, checkpoint, out, "--data", clips)
    assert (status, error) == (0, "")
    assert "tolerances of fp32" in text
    assert text.count("pass") == 2
    assert "12 frames of 2 videos" in text
    _, text, _ = verify(capsys, out, f"{out}:fp16", "--data", clips, "--frames", 6)
    assert "tolerances of fp16" in text
    assert "6 frames of" in text
    # The head of another calibration: the same towers, other probabilities.
    shutil.copytree(out, tmp_path / "other")
    model = onnx.load(tmp_path / "other" / "head.onnx")
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Tanh"
    onnx.save(model, tmp_path / "other" / "head.onnx")
    status, text, _ = verify(capsys, checkpoint, tmp_path / "other", "--data", clips)
    assert status == 1
    assert "FAIL" in text


@pytest.mark.parametrize(
    ("b", "fact"),
    [
        ("none.safetensors", "no such checkpoint"),
        ("out:int4", "'int4' is neither a precision (fp32, fp16, int8) nor a device"),
        ("checkpoint.safetensors:int8", "is no model folder"),
        ("empty", "not a model: it holds no spec.json"),
        ("out/pair.onnx", "one file of a model; name its folder"),
        ("out:fp16:int8", "names two precisions or two devices"),
        ("out:cpu:cuda", "names two precisions or two devices"),
        ("part:int8", "holds no int8 graphs"),
        ("damaged", "not a usable ONNX graph"),
    ],
)
def test_verify_refuses_in_one_line(
    exported: tuple[Path, Exported, list[str]], clips: Path, capsys: pytest.CaptureFixture[str], b: str, fact: str
) -> None:
    folder = exported[0]
    (folder / "empty").mkdir(exist_ok=True)
    for name in ("part", "damaged"):
        (folder / name).mkdir(exist_ok=True)
        for path in (folder / "out").glob("*"):
            if path.name.count(".") == 1:
                shutil.copy(path, folder / name)
    (folder / "damaged" / "frame.onnx").write_bytes(b"no graph")
    status, text, error = verify(capsys, folder / "out", folder / b, "--data", clips)
    assert (status, text, error.count("\n")) == (1, "", 1)
    assert fact in error


def test_verify_wants_models_of_one_shape(
    exported: tuple[Path, Exported, list[str]], clips: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = dataclasses.replace(exported[1].spec, grid_width=9)
    shutil.copytree(exported[0] / "out", tmp_path / "wide")
    (tmp_path / "wide" / "spec.json").write_text(spec.to_json())
    status, _, error = verify(capsys, exported[0] / "out", tmp_path / "wide", "--data", clips)
    assert (status, error.count("\n")) == (1, 1)
    assert "grid_width" in error


def test_a_bundled_folder_is_the_network_in_torch(capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundled_model_folder()
    status, text, _ = verify(capsys, folder / CHECKPOINT_FILE, folder, "--data", bundled_sample(), "--frames", 4)
    assert status == 0, text
    assert open_system(str(folder)).precision == "fp32"


# --- the command line of the export


@pytest.mark.parametrize("words", [["--precision", "int4"], ["--precision", ","], ["--precision", ""]])
def test_unknown_precisions_are_a_usage_mistake(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", *words])
    assert caught.value.code == 2
    assert "is not one of fp32, fp16, int8" in capsys.readouterr().err


def test_a_checkpoint_of_an_unknown_preset(
    exported: tuple[Path, Exported, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(__import__("avol.train.network.presets", fromlist=["PRESETS"]).PRESETS, PRESET)
        assert main(["export", str(exported[0] / CHECKPOINT_FILE), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{PRESET}: no such preset" in error
    assert not (tmp_path / "out").exists()


def test_calibration_on_nothing(
    exported: tuple[Path, Exported, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pair.int8.onnx").write_text("an older one")
    words = ["export", str(exported[0] / CHECKPOINT_FILE), "--out", str(tmp_path / "out")]
    assert main([*words, "--calibration", str(tmp_path / "none")]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "none: no such file or folder" in captured.err
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["an older one"]


def test_the_bundler_says_mistakes_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bundle", str(tmp_path / "none.safetensors")])
    assert bundle_main() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no such checkpoint" in error


def test_ranges_from_histograms_name_the_weights(exported: tuple[Path, Exported, list[str]]) -> None:
    network = exported[1].network
    histogram = MagnitudeHistogram()
    histogram.add(torch.ones(3))
    found = choose_ranges(network, {"frame": {"input": histogram}, "audio": {}}, method="minmax", source="here")
    assert found.weights_sha256 == network.spec.weights_sha256
    assert found.towers["frame"] == {"input": 1.0}
