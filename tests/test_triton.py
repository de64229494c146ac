"""Model repositories for NVIDIA Triton: a strict reader of config.pbtxt here, and the server's own where there is one.

The server is the binary inside the wheel nvidia-pytriton (``make triton``). It has no backend for ONNX, so that
no model is served there; it reads every file, and what it cannot read it says.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest

from avol.export.engines import outdated_plans
from avol.export.triton import LARGEST_BATCH, write_repository
from avol.runtime.backends.contract import GRAPHS, TENSORS, tensor_dtype, tensor_shape
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import bundled_model_folder, read_spec
from avol.runtime.plan_files import PlanInfo, TensorInfo, plan_info_path
from conftest import triton_server

TOKEN = re.compile(r'\s*(?:("[^"]*")|(-?\d+)|([A-Za-z_]\w*)|([{}\[\]:,]))')
# Field -> what it may hold: a type, or the fields of a message. A star: may be there several times.
TENSOR = {"name": str, "data_type": "enum", "dims": list, "reshape": {"shape": list}}
PAIR = {"key": str, "value": str}
STEP = {"model_name": str, "model_version": int, "input_map*": PAIR, "output_map*": PAIR}
CONFIG: dict[str, Any] = {
    "name": str,
    "platform": str,
    "max_batch_size": int,
    "input*": TENSOR,
    "output*": TENSOR,
    "dynamic_batching": {"max_queue_delay_microseconds": int},
    "ensemble_scheduling": {"step*": STEP},
}
PLATFORMS = {"onnxruntime_onnx": "model.onnx", "tensorrt_plan": "model.plan"}
DATA_TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.UINT8: "TYPE_UINT8"}


def read_config(text: str) -> dict[str, Any]:
    """Protobuf text with the fields of :data:`CONFIG`; anything else fails."""
    tokens, position = [], 0
    while text[position:].strip():
        match = TOKEN.match(text, position)
        assert match, f"not protobuf text: {text[position : position + 30]!r}"
        tokens.append(match[0].strip())
        position = match.end()
    found = _message(tokens, CONFIG)
    assert not tokens
    return found


def _message(tokens: list[str], fields: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name.removesuffix("*"): [] for name in fields if name.endswith("*")}
    while tokens and tokens[0] != "}":
        name = tokens.pop(0)
        several = f"{name}*" in fields
        kind = fields[f"{name}*" if several else name]
        if isinstance(kind, dict):
            assert tokens.pop(0) == "{"
            value: Any = _message(tokens, kind)
            assert tokens.pop(0) == "}"
        else:
            assert tokens.pop(0) == ":" if kind is not list or tokens[0] == ":" else True
            value = _value(tokens, kind)
        assert several or name not in found, name
        if several:
            found[name].append(value)
        else:
            found[name] = value
    return found


def _value(tokens: list[str], kind: Any) -> Any:
    token = tokens.pop(0)
    if kind is list:
        assert token == "["
        items: list[int] = []
        while tokens[0] != "]":
            items.append(int(tokens.pop(0)))
            assert tokens[0] in {",", "]"}
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        return items
    if kind is str:
        assert token.startswith('"')
        return token.strip('"')
    return int(token) if kind is int else token


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's graphs, and some of them again under the names of other precisions."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(bundled_model_folder(), folder, dirs_exist_ok=True)
    for role in ("audio", "frame"):
        for precision in ("fp16", "int8"):
            shutil.copy(folder / f"{role}.onnx", folder / f"{role}.{precision}.onnx")
    for role in ("audio", "frame"):
        write_plan(folder, role)
    return folder


def write_plan(folder: Path, role: str, *, batches: tuple[tuple[int, int, int], ...] = ((1, 8, 16),)) -> Path:
    """What stands for an engine in FP16: the bytes are the server's affair, the side file is ours."""
    spec = read_spec(folder)
    inputs, outputs = (
        tuple(TensorInfo(name=n, dtype=tensor_dtype(n).name, shape=(-1, *tensor_shape(n, spec))) for n in names)
        for names in TENSORS[role]
    )
    info = PlanInfo(
        plan_sha256=hashlib.sha256(b"engine").hexdigest(),
        onnx_sha256=hashlib.sha256((folder / f"{role}.fp16.onnx").read_bytes()).hexdigest(),
        role=role, precision="fp16", builder="tensorrt", builder_version="10.16.1.11", cuda_version="13.0",
        driver_version="580.65.06", gpu_name="NVIDIA L4", compute_capability="8.9", inputs=inputs, outputs=outputs,
        profiles=tuple(
            {n: tuple((size, *tensor_shape(n, spec)) for size in span) for n in TENSORS[role][0]}  # type: ignore[misc]
            for span in batches
        ),
        spec=spec,
    )  # fmt: skip
    plan = folder / info.file_name
    plan.write_bytes(b"engine")
    plan_info_path(plan).write_text(info.to_json())
    return plan


@pytest.fixture(scope="module")
def repository(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "models"
    names = write_repository(model, path)
    assert sorted(names) == sorted(folder.name for folder in path.iterdir())
    return path


def test_every_graph_and_precision_is_served(repository: Path) -> None:
    towers = {f"avol_{role}{end}" for role in ("audio", "frame") for end in ("", "_fp16", "_int8")}
    plans = {"avol_audio_fp16_tensorrt", "avol_frame_fp16_tensorrt"}
    ensembles = {f"avol_localise{end}" for end in ("", "_fp16", "_int8", "_fp16_tensorrt")}
    assert {path.name for path in repository.iterdir()} == towers | plans | ensembles | {
        "avol_spectrogram",
        "avol_head",
    }
    assert (repository / "avol_frame_fp16_tensorrt" / "1" / "model.plan").read_bytes() == b"engine"


def test_engines_that_cannot_be_served_are_left_out(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    write_plan(folder, "audio", batches=((8, 8, 8),))
    write_plan(folder, "frame", batches=((1, 1, 1), (8, 8, 8)))
    write_repository(folder, tmp_path / "served")
    names = {path.name for path in (tmp_path / "served").iterdir() if path.name.endswith("tensorrt")}
    assert names == {"avol_frame_fp16_tensorrt"}  # and no ensemble of it
    config = read_config((tmp_path / "served" / "avol_frame_fp16_tensorrt" / "config.pbtxt").read_text())
    assert config["max_batch_size"] == 1
    assert outdated_plans(folder) == []
    shutil.copy(folder / "audio.fp16.onnx", folder / "frame.fp16.onnx")
    plan_info_path(folder / "audio.fp16.tensorrt.plan").unlink()
    assert [path.name for path in outdated_plans(folder)] == ["audio.fp16.tensorrt.plan", "frame.fp16.tensorrt.plan"]
    assert not any(name.endswith("tensorrt") for name in write_repository(folder, tmp_path / "again"))


def test_a_full_disk_leaves_no_empty_folders(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Path] = []

    def fill(source: Path, target: Path) -> None:
        copies.append(source)
        if len(copies) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        target.write_bytes(source.read_bytes())

    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(AvolError, match="models: cannot be written: No space left"):
        write_repository(model, tmp_path / "models")
    assert [path.name for path in tmp_path.rglob("*")] == ["models", "mine"]


def test_configurations_describe_the_graphs(repository: Path) -> None:
    for folder in repository.iterdir():
        config = read_config((folder / "config.pbtxt").read_text())
        assert config["name"] == folder.name
        if config["platform"] == "ensemble":
            assert list((folder / "1").iterdir()) == []
            continue
        is_plan = config["platform"] == "tensorrt_plan"
        assert config["max_batch_size"] == (16 if is_plan else LARGEST_BATCH)
        assert [path.name for path in (folder / "1").iterdir()] == [PLATFORMS[config["platform"]]]
        source = repository / folder.name.removesuffix("_tensorrt") / "1" / "model.onnx"
        graph = onnx.load(source).graph
        for kind, tensors in (("input", graph.input), ("output", graph.output)):
            assert [item["name"] for item in config[kind]] == [item.name for item in tensors]
            for item, tensor in zip(config[kind], tensors, strict=True):
                shape = tensor.type.tensor_type.shape.dim[1:]  # without the batch
                # An audio tower that may run over a track is served windows: Triton takes any size for a free one.
                windows = (
                    {"columns": read_spec(bundled_model_folder()).spectrogram.columns} if "audio" in folder.name else {}
                )
                expected = [size.dim_value or windows.get(size.dim_param, -1) for size in shape]
                assert item.get("reshape", {"shape": item["dims"]})["shape"] == expected
                assert len(item["dims"]) > 0
                assert item["data_type"] == DATA_TYPES[tensor.type.tensor_type.elem_type]


@pytest.mark.parametrize("end", ["", "_fp16", "_int8", "_fp16_tensorrt"])
def test_ensembles_join_what_fits(repository: Path, end: str) -> None:
    config = read_config((repository / f"avol_localise{end}" / "config.pbtxt").read_text())
    steps = config["ensemble_scheduling"]["step"]
    assert config["max_batch_size"] == (16 if end.endswith("tensorrt") else LARGEST_BATCH)
    assert [step["model_name"] for step in steps] == [
        "avol_spectrogram",
        f"avol_audio{end}",
        f"avol_frame{end}",
        "avol_head",
    ]
    assert len(steps) == len(GRAPHS)
    known = {item["name"]: (item["data_type"], item["dims"]) for item in config["input"]}
    for step in steps:
        served = read_config((repository / step["model_name"] / "config.pbtxt").read_text())
        for kind in ("input", "output"):
            tensors = {item["name"]: (item["data_type"], item["dims"]) for item in served[kind]}
            assert {pair["key"] for pair in step[f"{kind}_map"]} == set(tensors)
            for pair in step[f"{kind}_map"]:
                if kind == "output":
                    assert pair["value"] not in known
                    known[pair["value"]] = tensors[pair["key"]]
                data_type, dims = known[pair["value"]]
                assert data_type == tensors[pair["key"]][0]
                assert all(
                    -1 in pair_of or pair_of[0] == pair_of[1]
                    for pair_of in zip(dims, tensors[pair["key"]][1], strict=True)
                )
    for item in config["output"]:
        assert known[item["name"]] == (item["data_type"], item["dims"])


@pytest.mark.parametrize(
    "text", ['nmae: "x"', 'name "x"', 'name: "x" name: "y"', "max_batch_size: many", "input {", "?"]
)
def test_the_reader_is_strict(text: str) -> None:
    with pytest.raises((AssertionError, KeyError, ValueError, IndexError)):
        read_config(text)


def test_a_second_export_replaces_the_first_and_leaves_others(model: Path, tmp_path: Path) -> None:
    write_repository(model, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.pbtxt").write_text("mine")
    (tmp_path / "avol_head" / "config.pbtxt").write_text("older")
    write_repository(model, tmp_path)
    assert (tmp_path / "mine" / "config.pbtxt").read_text() == "mine"
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.rglob("*.partial*"))


def test_places_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AvolError, match="cannot be written"):
        write_repository(model, tmp_path / "file" / "models")
    with pytest.raises(AvolError, match="cannot be written"):
        write_repository(model, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    shutil.copy(model / "spec.json", tmp_path / "empty")
    with pytest.raises(AvolError, match="holds no graphs to serve"):
        write_repository(tmp_path / "empty", tmp_path / "models")
    assert (tmp_path / "file").read_text() == "mine"


def serve(repository: Path) -> str:
    """What the server says of a repository; without a backend it gives up by itself."""
    server = triton_server()
    ports = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    options = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    command = [
        str(server),
        f"--model-repository={repository}",
        f"--backend-directory={server.parents[1] / 'backends'}",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@pytest.mark.triton
def test_the_server_reads_every_configuration(repository: Path, tmp_path: Path) -> None:
    said = serve(repository)
    assert "Poll failed" not in said
    assert "failed to read text proto" not in said
    for folder in repository.iterdir():
        if "localise" in folder.name:
            assert f"ensemble '{folder.name}' depends on" in said
        else:
            assert f"failed to load '{folder.name}' version 1: Invalid argument: unable to find backend" in said
    shutil.copytree(repository, tmp_path / "wrong")
    with (tmp_path / "wrong" / "avol_head" / "config.pbtxt").open("a") as file:
        file.write('nmae: "avol_head"\n')
    said = serve(tmp_path / "wrong")
    assert "Poll failed for model directory 'avol_head'" in said
