"""Exported graphs against the network they came from, and what the files hold.

Largest differences of ONNX Runtime to torch on a CPU in float32, relative to the largest output of each tensor, on a
network with weights and statistics of the size that trained ones have (measured on batches of 1, 3 and 32): audio 5e-7,
frame 9e-7, head 1.0e-6, waveform-audio 5e-7, pair 2.3e-6, spectrogram 1.2e-5. Beside a loud tone a bin's power is a
small difference of large sums, and its logarithm magnifies the order in which they were added.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from avol.apps.cli import main
from avol.export.bundle import bundle
from avol.export.engines import EngineOptions, build_engines
from avol.export.modules import model_graphs
from avol.export.moments import synthetic_moments
from avol.export.onnx_files import LARGEST_IR_VERSION, OPSET, export_checkpoint
from avol.export.towers import fold_batch_norms
from avol.export.verify import compare_with_network
from avol.runtime.errors import AvolError
from avol.runtime.onnx_backend import GRAPHS, OnnxBackend
from avol.runtime.spec import GRAPH_KEY, PRECISION_KEY, RUNNING_KEY, SPEC_KEY, Calibration, ModelSpec
from avol.runtime.system import AvolNetSystem
from avol.train.checkpoint import load_checkpoint, save_checkpoint
from avol.train.network import TwoTowerNetwork, build_network, preset_spec
from engine_graphs import needs_rtx

PRESET = "avol-128-half-width"
ROLES = ("spectrogram", "audio", "frame", "head", "waveform-audio", "pair")
LARGEST_DIFFERENCE = 1e-5  # relative to the largest output
LARGEST_DIFFERENCE_OF_COLUMNS = 5e-5
CALIBRATION = Calibration(scale=1.7, bias=-0.4)

Arrays = dict[str, NDArray[Any]]


def lively_network(preset: str = PRESET) -> TwoTowerNetwork:
    """An untrained network whose statistics and outputs are of the size that training gives them."""
    torch.manual_seed(0)
    network = build_network(preset_spec(preset))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
        for tower in (network.frame_tower, network.audio_tower):
            last = tower.embed[-1]
            assert isinstance(last, torch.nn.Conv2d | torch.nn.Linear)
            last.weight.mul_(8)
        network.train()
        for _ in range(3):
            network(*(torch.from_numpy(value) for value in example(network.spec, 4).values()))
        network.head.scale.fill_(0.8)
        network.head.bias.fill_(-0.3)
    return network.eval()


def example(spec: ModelSpec, count: int, seed: int = 0) -> Arrays:
    """Pictures with large and small structure, and tones in noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3)).repeat(spec.frame_height // 8, 1).repeat(spec.frame_width // 8, 2)
    frames = np.clip(coarse + rng.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8)
    times = np.arange(spec.spectrogram.clip_samples) / spec.spectrogram.sample_rate_hz
    tones = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000, (count, 1)) * times)
    samples = (tones + 0.02 * rng.standard_normal(tones.shape)).astype(np.float32)
    return {"frames": frames, "samples": samples}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``checkpoint.safetensors`` (half precision) and all its graphs."""
    folder = tmp_path_factory.mktemp("exported")
    network = lively_network()
    spec = replace(network.spec, name="mine", threshold=0.4, calibration=CALIBRATION, training={"steps": "0"})
    save_checkpoint(network, spec, folder / "checkpoint.safetensors", half=True)
    written = export_checkpoint(folder / "checkpoint.safetensors", folder)
    assert [path.name for path in written] == [*(f"{role}.onnx" for role in ROLES), "spec.json"]
    return folder


@pytest.fixture(scope="module")
def network(exported: Path) -> TwoTowerNetwork:
    return load_checkpoint(exported / "checkpoint.safetensors")


def session(folder: Path, role: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / f"{role}.onnx"), options, providers=["CPUExecutionProvider"])


def infer(folder: Path, role: str, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
    outputs: list[NDArray[np.float32]] = session(folder, role).run(None, inputs)
    return outputs


def network_values(network: TwoTowerNetwork, inputs: Arrays) -> Arrays:
    """What the network itself, batch norms and all, makes of pictures and samples."""
    with torch.no_grad():
        columns = network.spectrogram(torch.from_numpy(inputs["samples"]))
        grid = network.frame_tower(torch.from_numpy(inputs["frames"]))
        vector = network.audio_tower(columns)
        logits = network(torch.from_numpy(inputs["frames"]), torch.from_numpy(inputs["samples"]))
        probabilities = torch.sigmoid(logits * CALIBRATION.scale + CALIBRATION.bias)
    values = {"columns": columns, "grid": grid, "vector": vector, "map": probabilities}
    return {name: value.numpy() for name, value in values.items()} | {"score": probabilities.amax(dim=(1, 2)).numpy()}


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("count", [1, 3, 32])
def test_every_graph_is_the_network(exported: Path, network: TwoTowerNetwork, count: int) -> None:
    inputs = example(network.spec, count, seed=count)
    expected = inputs | network_values(network, inputs)
    assert np.abs(expected["grid"]).max() > 0.05  # the comparison is not of zeros
    assert np.ptp(expected["map"]) > 0.02
    for role in ROLES:
        opened = session(exported, role)
        names = [output.name for output in opened.get_outputs()]
        found = opened.run(None, {item.name: expected[item.name] for item in opened.get_inputs()})
        for name, value in zip(names, found, strict=True):
            largest = LARGEST_DIFFERENCE_OF_COLUMNS if name == "columns" else LARGEST_DIFFERENCE
            assert difference(value, expected[name]) <= largest, (role, name)


def test_pair_is_the_composition_of_the_four(exported: Path, network: TwoTowerNetwork) -> None:
    inputs = example(network.spec, 3, seed=9)
    whole, score = infer(exported, "pair", **inputs)
    (grid,) = infer(exported, "frame", frames=inputs["frames"])
    (columns,) = infer(exported, "spectrogram", samples=inputs["samples"])
    (vector,) = infer(exported, "audio", columns=columns)
    composed, composed_score = infer(exported, "head", grid=grid, vector=vector)
    assert difference(composed, whole) <= LARGEST_DIFFERENCE
    assert difference(composed_score, score) <= LARGEST_DIFFERENCE
    assert difference(infer(exported, "waveform-audio", samples=inputs["samples"])[0], vector) <= LARGEST_DIFFERENCE
    assert np.array_equal(score, whole.max(axis=(1, 2)))


def test_results_do_not_depend_on_the_batch(exported: Path, network: TwoTowerNetwork) -> None:
    inputs = example(network.spec, 5)
    together = infer(exported, "pair", **inputs)[0]
    alone = [infer(exported, "pair", **{name: value[n : n + 1] for name, value in inputs.items()})[0] for n in range(5)]
    assert difference(np.concatenate(alone), together) <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("seconds", [0.1, 1.0, 7.3])
def test_spectrogram_takes_any_length(exported: Path, network: TwoTowerNetwork, seconds: float) -> None:
    count = round(seconds * network.spec.spectrogram.sample_rate_hz)
    samples = np.random.default_rng(0).standard_normal((2, count)).astype(np.float32) * 0.1
    (columns,) = infer(exported, "spectrogram", samples=samples)
    with torch.no_grad():
        expected = network.spectrogram(torch.from_numpy(samples)).numpy()
    assert difference(columns, expected) <= LARGEST_DIFFERENCE_OF_COLUMNS


def test_hostile_inputs_give_probabilities(exported: Path, network: TwoTowerNetwork) -> None:
    frames = np.stack([np.zeros((128, 128, 3)), np.full((128, 128, 3), 255)]).astype(np.uint8)
    samples = np.zeros((2, network.spec.spectrogram.clip_samples), np.float32)
    samples[1, ::2], samples[1, 1::2] = 1.0, -1.0
    values, score = infer(exported, "pair", frames=frames, samples=samples)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert score.max() <= 1


def test_verification_agrees_and_notices(exported: Path, tmp_path: Path) -> None:
    checkpoint = exported / "checkpoint.safetensors"
    found = compare_with_network(checkpoint, exported)
    assert set(found) == set(ROLES)
    assert found.pop("spectrogram") <= LARGEST_DIFFERENCE_OF_COLUMNS
    assert max(found.values()) <= LARGEST_DIFFERENCE
    model = onnx.load(exported / "head.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    node.op_type = "Tanh"
    onnx.save(model, tmp_path / "head.onnx")
    (tmp_path / "another.onnx").write_text("not one of avol's, and none of its business")
    assert compare_with_network(checkpoint, tmp_path)["head"] > 0.1


def test_float32_checkpoint_loses_only_the_rounding_to_half(tmp_path: Path) -> None:
    """Graphs hold convolution weights in half precision whatever the checkpoint holds (measured: 6e-4)."""
    network = lively_network()
    inputs = example(network.spec, 4)
    folded = fold_batch_norms(network.frame_tower)
    with torch.no_grad():
        found = folded(torch.from_numpy(inputs["frames"])).numpy()
        expected = network.frame_tower(torch.from_numpy(inputs["frames"])).numpy()
    assert 0 < difference(found, expected) < 3e-3
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.frame_tower.modules())  # not changed


@pytest.mark.parametrize("role", ROLES)
def test_file_is_what_devices_read(exported: Path, network: TwoTowerNetwork, role: str) -> None:
    path = exported / f"{role}.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", OPSET)]
    assert OPSET == 18
    assert model.ir_version <= LARGEST_IR_VERSION == 10
    assert not model.functions
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata.keys() == {SPEC_KEY, GRAPH_KEY, PRECISION_KEY} | ({RUNNING_KEY} if role == "audio" else set())
    assert metadata[PRECISION_KEY] == "fp32"
    assert metadata[GRAPH_KEY] == role
    spec = ModelSpec.from_json(metadata[SPEC_KEY], origin=path)
    assert spec == ModelSpec.from_json((exported / "spec.json").read_text(), origin=exported)
    assert replace(spec, versions={}) == replace(network.spec, versions={})
    assert {"avol", "onnx"} <= spec.versions.keys()
    free = {
        item.name: item.type.tensor_type.shape.dim[0].dim_param for item in [*model.graph.input, *model.graph.output]
    }
    if role == "audio":
        assert free == {"columns": "batch", "vector": ""}  # a vector for every window of a stretch
        assert model.graph.input[0].type.tensor_type.shape.dim[2].dim_param == "columns"
    else:
        assert set(free.values()) == {"batch"}


@pytest.mark.parametrize("role", ROLES)
def test_file_says_nothing_of_the_machine(exported: Path, role: str) -> None:
    data = (exported / f"{role}.onnx").read_bytes()
    for trace in (b"/home", b"/root", b"/tmp", b"/work", b".py", b"site-packages", b"stack_trace", b'File "'):
        assert trace not in data, trace


def test_weights_are_stored_in_half(exported: Path, network: TwoTowerNetwork) -> None:
    for role, tower in (("frame", network.frame_tower), ("audio", network.audio_tower)):
        weights = sum(parameter.numel() for parameter in tower.parameters())
        size = (exported / f"{role}.onnx").stat().st_size
        assert 2 * weights < size < 2 * weights + 200_000
        types = {
            item.data_type for item in onnx.load(exported / f"{role}.onnx").graph.initializer if len(item.dims) == 4
        }
        assert onnx.TensorProto.FLOAT16 in types


def test_runtime_opens_what_was_exported(exported: Path, network: TwoTowerNetwork) -> None:
    inputs = example(network.spec, 2)
    with OnnxBackend(exported) as backend:
        found = AvolNetSystem(backend).localise_samples(inputs["frames"], inputs["samples"])
    assert difference(found, network_values(network, inputs)["map"]) <= LARGEST_DIFFERENCE


def test_export_changes_no_weight_and_is_repeatable(exported: Path, tmp_path: Path) -> None:
    checkpoint = exported / "checkpoint.safetensors"
    before = checkpoint.read_bytes()
    export_checkpoint(checkpoint, tmp_path, roles=("head",))
    assert checkpoint.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.onnx", "spec.json"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (exported / path.name).read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((exported / path.name).stat().st_mode)


def test_modules_leave_the_network_alone(network: TwoTowerNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    graphs = model_graphs(network, network.spec)
    assert [graph.role for graph in graphs] == list(ROLES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


FULL_DISK = """
import resource, sys
from pathlib import Path
from avol.export.onnx_files import export_checkpoint
from avol.runtime.errors import AvolError
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    export_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), roles=("head", "spectrogram"))
except AvolError as error:
    print(error)
"""


def test_full_disk_leaves_the_last_export(exported: Path, tmp_path: Path) -> None:
    """The limit lets the head through and stops the spectrogram: not even the head may change."""
    for name in ("head.onnx", "spectrogram.onnx", "spec.json"):
        (tmp_path / name).write_text("an older export")
    command = [sys.executable, "-c", FULL_DISK, str(exported / "checkpoint.safetensors"), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.count("\n") == 1
    assert "spectrogram.onnx: cannot be written" in result.stdout
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("head.onnx", "spectrogram.onnx", "spec.json"), "an older export"
    )


def test_file_in_the_place_of_the_folder(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(AvolError, match="out: cannot be made"):
        export_checkpoint(exported / "checkpoint.safetensors", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_folder_in_the_place_of_a_graph(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "head.onnx").mkdir()
    with pytest.raises(AvolError, match=r"head\.onnx: exists and is not a regular file"):
        export_checkpoint(exported / "checkpoint.safetensors", tmp_path, roles=("head",))
    assert [path.name for path in tmp_path.iterdir()] == ["head.onnx"]


def test_bundle_is_a_model_with_its_checkpoint(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = Calibration(scale=0.5, bias=0.25)
    monkeypatch.setattr(synthetic_moments, "__kwdefaults__", {"scenes": 2})
    bundle(exported / "checkpoint.safetensors", tmp_path, threshold=0.3, calibration=calibration, notes={"by": "test"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["checkpoint.safetensors", "ranges.json", "spec.json", "audio.int8.onnx", "frame.int8.onnx"]
        + [f"{role}.onnx" for role in GRAPHS]
    )
    with OnnxBackend(tmp_path) as backend:
        spec = backend.spec
    assert (spec.threshold, spec.calibration) == (0.3, calibration)
    assert spec.training == {"steps": "0", "by": "test"}
    assert spec.weights_sha256 == load_checkpoint(tmp_path / "checkpoint.safetensors").spec.weights_sha256


@needs_rtx
def test_every_graph_becomes_an_engine(exported: Path, tmp_path: Path) -> None:
    """Built by TensorRT-RTX, not run: what its parser takes is what TensorRT's takes."""
    shutil.copytree(exported, tmp_path / "model")
    options = EngineOptions(profile_per_batch=True)
    built = build_engines(
        tmp_path / "model", precisions=("fp32",), engine="tensorrt-rtx", batches=(1, 8), options=options
    )
    assert sorted(engine.info.role for engine in built) == sorted(ROLES)
    pair = next(engine.info for engine in built if engine.info.role == "pair")
    assert [tensor.name for tensor in pair.inputs] == ["frames", "samples"]
    assert [tensor.name for tensor in pair.outputs] == ["map", "score"]
    assert len(pair.profiles) == 2


# --- the command


@pytest.mark.slow
def test_command_exports_and_compares(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_moments, "__kwdefaults__", {"scenes": 2})
    words = ["export", str(exported / "checkpoint.safetensors"), "--out", str(tmp_path / "out"), "--engine", "none"]
    assert main([*words, "--precision", "fp32", "--triton", str(tmp_path / "served")]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == [f"{role}.onnx" for role in ROLES]
    assert all(float(line.split()[4]) <= LARGEST_DIFFERENCE_OF_COLUMNS for line in lines[1:7])
    assert "avol_localise" in lines[7]
    assert lines[-1].startswith(f"{tmp_path}/out: 7 files")
    assert captured.err.startswith("judging on ")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (exported / path.name).read_bytes()


def test_command_says_which_graph_differs(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic_moments, "__kwdefaults__", {"scenes": 1})
    monkeypatch.setattr("avol.export.job.build_models", lambda *_, **__: [onnx.load(exported / "head.onnx")])
    monkeypatch.setattr(
        "avol.export.verify.largest_differences", lambda *_: {"head": 0.5, "frame": 0.0, "pair": float("nan")}
    )
    (tmp_path / "head.onnx").write_bytes(b"the last good one")
    words = ["--out", str(tmp_path), "--engine", "none", "--precision", "fp32"]
    assert main(["export", str(exported / "checkpoint.safetensors"), *words]) == 1
    assert "head.onnx, pair.onnx would differ from the network; nothing is written" in capsys.readouterr().err
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("head.onnx", b"the last good one")]


@pytest.mark.parametrize("kind", ["missing", "text", "folder", "graph", "out"])
def test_command_refuses_in_one_line(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    paths = {
        "missing": tmp_path / "none.safetensors",
        "text": tmp_path / "text.safetensors",
        "folder": tmp_path,
        "graph": tmp_path / "head.onnx",
        "out": exported / "checkpoint.safetensors",
    }
    paths["text"].write_text("hello")
    shutil.copy(exported / "head.onnx", paths["graph"])
    out = tmp_path / "text.safetensors" / "out" if kind == "out" else tmp_path / "out"
    assert main(["export", str(paths[kind]), "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert str(out if kind == "out" else paths[kind]) in captured.err
    assert not (tmp_path / "out").exists()
