"""A model folder is opened only if it is whole and its parts belong together; each mistake is one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avol.runtime.errors import AvolError
from avol.runtime.model_folder import SPEC_FILE, bundled_model_folder, read_spec
from avol.runtime.onnx_backend import GRAPHS, OnnxBackend
from avol.runtime.spec import GRAPH_KEY, SPEC_KEY, Calibration, ModelSpec, SpectrogramSpec
from avol.runtime.system import AvolNetSystem


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the bundled model's graphs and spec."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (SPEC_FILE, *(f"{role}.onnx" for role in GRAPHS)):
        shutil.copy(bundled_model_folder() / name, folder / name)
    return folder


def the_one_line(folder: Path, names: Path | None = None) -> str:
    """The message of opening a folder; it begins with the file it is about."""
    with pytest.raises(AvolError) as caught:
        AvolNetSystem(OnnxBackend(folder))
    message = str(caught.value)
    assert message.startswith(f"{names or folder}: "), message
    assert "\n" not in message
    assert message.endswith("."), message
    return message


def edit_spec(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / SPEC_FILE
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def edit_graph(path: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    graph = onnx.load(path)
    change(graph)
    onnx.save(graph, path)


def set_metadata(path: Path, key: str, value: str | None) -> None:
    def change(graph: onnx.ModelProto) -> None:
        entries = {entry.key: entry.value for entry in graph.metadata_props}
        entries.pop(key, None)
        if value is not None:
            entries[key] = value
        onnx.helper.set_model_props(graph, entries)

    edit_graph(path, change)


def test_a_whole_model_opens_and_computes(model: Path) -> None:
    with OnnxBackend(model) as backend:
        system, spec = AvolNetSystem(backend), backend.spec
        generator = np.random.default_rng(0)
        frames = generator.integers(0, 256, (3, spec.frame_height, spec.frame_width, 3), np.uint8)
        samples = generator.uniform(-0.5, 0.5, (3, spec.spectrogram.clip_samples)).astype(np.float32)
        maps = system.localise_samples(frames, samples)
        windows = np.stack([system.transform(row) for row in samples])
        found = system.localise(frames, windows)
    assert windows.shape == (3, spec.spectrogram.rows, spec.spectrogram.columns)
    assert maps.shape == (3, spec.grid_height, spec.grid_width)
    assert maps.dtype == np.float32
    assert 0 <= maps.min() <= maps.max() <= 1
    assert found.map is not None
    np.testing.assert_allclose(found.map, maps, atol=1e-4)
    np.testing.assert_allclose(found.score, maps.max(axis=(1, 2)), atol=1e-4)


def test_the_bundled_model_has_the_name_of_its_folder() -> None:
    assert read_spec(bundled_model_folder()).name == bundled_model_folder().name


@pytest.mark.parametrize(
    "place", ["absent", "empty", "file", "file/inside", pytest.param("x" * 300, id="long name"), "with/spec.json"]
)
def test_a_place_without_a_model(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no model", encoding="utf-8")
    (tmp_path / "with" / "spec.json").mkdir(parents=True)
    assert "avol export wrote" in the_one_line(tmp_path / place)


@pytest.mark.parametrize("role", GRAPHS)
def test_a_missing_graph_is_named(model: Path, role: str) -> None:
    (model / f"{role}.onnx").unlink()
    assert f"{role}.onnx" in the_one_line(model)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: data[:-1], id="a byte short"),
        pytest.param(lambda data: np.random.default_rng(1).bytes(4096), id="random"),
        pytest.param(lambda data: b"<html>404 Not Found</html>\n" * 9, id="text"),
        pytest.param(lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", id="pointer"),
    ],
)
@pytest.mark.parametrize("role", ["frame", "head"])
def test_a_corrupt_graph_is_named(model: Path, role: str, spoil: Callable[[bytes], bytes]) -> None:
    path = model / f"{role}.onnx"
    path.write_bytes(spoil(path.read_bytes()))
    assert "run avol export again" in the_one_line(model, path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_graph_cut_anywhere_is_one_line(model: Path, data: st.DataObject) -> None:
    path = model / "head.onnx"
    whole = (bundled_model_folder() / "head.onnx").read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    the_one_line(model, path)


def test_a_graph_without_a_spec_is_foreign(model: Path) -> None:
    path = model / "frame.onnx"
    set_metadata(path, SPEC_KEY, None)
    assert "without avol's spec" in the_one_line(model, path)


def test_a_graph_under_anothers_name(model: Path) -> None:
    shutil.copy(model / "audio.onnx", model / "frame.onnx")
    assert "holds the graph 'audio', not 'frame'" in the_one_line(model, model / "frame.onnx")
    set_metadata(model / "frame.onnx", GRAPH_KEY, None)
    assert "holds the graph None" in the_one_line(model, model / "frame.onnx")


def test_a_graph_of_another_model(model: Path) -> None:
    other = dataclasses.replace(read_spec(model), name="other", weights_sha256="0" * 64)
    set_metadata(model / "head.onnx", SPEC_KEY, other.to_json())
    assert "differ in name, weights_sha256;" in the_one_line(model, model / "head.onnx")


def test_a_graph_whose_own_spec_is_unreadable(model: Path) -> None:
    set_metadata(model / "head.onnx", SPEC_KEY, "{}")
    assert "its format is None" in the_one_line(model, model / "head.onnx")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda values: values.update(threshold=0.123), "threshold"),
        (lambda values: values["spectrogram"].update(log_mean=-1.5), "spectrogram.log_mean"),
        (lambda values: values["training"].update(note="mine"), "training.note"),
    ],
)
def test_an_edited_spec_is_noticed(model: Path, change: Callable[[dict[str, Any]], object], field: str) -> None:
    edit_spec(model, change)
    assert f"differ in {field};" in the_one_line(model, model / f"{GRAPHS[0]}.onnx")


def test_a_spec_with_another_order_and_spacing_is_the_same(model: Path) -> None:
    path = model / SPEC_FILE
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(values.items()))), encoding="utf-8")
    with OnnxBackend(model) as backend:
        assert backend.spec == read_spec(bundled_model_folder())


def test_tensors_that_are_not_the_specs(model: Path) -> None:
    spec = dataclasses.replace(read_spec(model), grid_height=9)
    (model / SPEC_FILE).write_text(spec.to_json(), encoding="utf-8")
    for role in GRAPHS:
        set_metadata(model / f"{role}.onnx", SPEC_KEY, spec.to_json())
    assert "its tensors are" in the_one_line(model, model / "frame.onnx")


def test_tensors_of_another_type(model: Path) -> None:
    spec, path = read_spec(model), model / "frame.onnx"

    def swap(graph: onnx.ModelProto) -> None:
        """A graph that takes floats where the spec wants bytes."""
        sizes = ["N", spec.frame_height, spec.frame_width, 3]
        frames = onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.FLOAT, sizes)
        graph.graph.input[0].CopyFrom(frames)

    edit_graph(path, swap)
    assert "tensor(float)" in the_one_line(model, path)


def test_another_system_is_refused(model: Path) -> None:
    spec = dataclasses.replace(read_spec(model), system="av-transformer")
    (model / SPEC_FILE).write_text(spec.to_json(), encoding="utf-8")
    for role in GRAPHS:
        set_metadata(model / f"{role}.onnx", SPEC_KEY, spec.to_json())
    assert "'av-transformer'" in the_one_line(model)


def test_without_onnxruntime(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AvolError, match=r"^onnxruntime: not installed; pip install '\.\[cpu\]'"):
        OnnxBackend(model)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "Expecting value"),
        ("no JSON at all", "Expecting value"),
        ('{"format": "avol.model/1"', "Expecting"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 100_000, "recursion"),
        ("{}", "its format is None"),
        ('{"format": "avol.model/2"}', "its format is 'avol.model/2', this version of avol reads 'avol.model/1'"),
        ('{"format": "avol.model/1"}', "SpectrogramSpec is missing"),
    ],
)
def test_a_spec_that_is_none(model: Path, text: str, fact: str) -> None:
    (model / SPEC_FILE).write_text(text, encoding="utf-8")
    assert fact in the_one_line(model, model / SPEC_FILE)


def test_a_spec_that_is_no_text(model: Path) -> None:
    (model / SPEC_FILE).write_bytes(b"\xff\xfe\x00\x01")
    assert "cannot be read" in the_one_line(model, model / SPEC_FILE)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda values: values.pop("grid_width"), "lacks ['grid_width']"),
        (lambda values: values.update(colour="red"), "unknown ['colour']"),
        (lambda values: values["spectrogram"].pop("rows"), "SpectrogramSpec lacks ['rows']"),
        (lambda values: values.update(calibration=None), "Calibration is missing"),
        (lambda values: values.update(frame_height="128"), "frame_height is '128', expected int"),
        (lambda values: values.update(frame_height=True), "frame_height is True, expected int"),
        (lambda values: values.update(name=7), "name is 7, expected str"),
        (lambda values: values.update(training={"a": 1}), "training is {'a': 1}, expected dict[str, str]"),
        (lambda values: values.update(threshold=1.5), "threshold is 1.5, allowed is 0..1"),
        (lambda values: values.update(threshold=float("nan")), "threshold is nan, expected float"),
        (lambda values: values.update(embedding_size=0), "embedding_size is 0"),
        (lambda values: values["spectrogram"].update(hop_samples=0), "hop_samples is 0"),
        (lambda values: values["spectrogram"].update(log_scale=-1.0), "log_scale is -1.0"),
        (lambda values: values["spectrogram"].update(rows=10_000), "exceed the FFT"),
        (lambda values: values["calibration"].update(scale="1"), "Calibration.scale is '1', expected float"),
    ],
)
def test_a_spec_with_impossible_values(model: Path, change: Callable[[dict[str, Any]], object], fact: str) -> None:
    edit_spec(model, change)
    assert fact in the_one_line(model, model / SPEC_FILE)


positive = st.integers(1, 10_000)
finite = st.floats(allow_nan=False, allow_infinity=False)
spectrograms = st.builds(
    SpectrogramSpec,
    sample_rate_hz=positive,
    window_samples=positive,
    fft_samples=st.just(1 << 14),
    hop_samples=positive,
    first_bin=st.integers(0, 1),
    bins_per_row=st.integers(1, 8),
    rows=st.integers(1, 1000),
    columns=positive,
    power_floor=st.floats(1e-12, 1.0),
    log_mean=finite,
    log_scale=st.floats(1e-6, 1e6),
)
specs = st.builds(
    ModelSpec,
    name=st.text(),
    system=st.text(),
    preset=st.text(),
    frame_height=positive,
    frame_width=positive,
    grid_height=positive,
    grid_width=positive,
    embedding_size=positive,
    spectrogram=spectrograms,
    threshold=st.floats(0, 1),
    calibration=st.builds(Calibration, scale=finite, bias=finite),
    weights_sha256=st.text("0123456789abcdef", max_size=64),
    training=st.dictionaries(st.text(), st.text()),
    versions=st.dictionaries(st.text(), st.text()),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs)
def test_a_spec_is_read_back_as_it_was(spec: ModelSpec) -> None:
    for indent in (None, 2):
        again = ModelSpec.from_json(spec.to_json(indent=indent), origin="here")
        assert again == spec
        assert again.differences(spec) == []


@given(spec=spectrograms, time_seconds=st.floats(0, 36_000))
def test_a_window_is_centred_to_half_a_column(spec: SpectrogramSpec, time_seconds: float) -> None:
    centre = spec.first_column_at(time_seconds) * spec.hop_samples + spec.clip_samples / 2
    assert abs(centre - time_seconds * spec.sample_rate_hz) <= spec.hop_samples / 2 + 1e-3
    assert spec.clip_seconds == pytest.approx(spec.clip_samples / spec.sample_rate_hz)
