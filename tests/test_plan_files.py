"""Side files of engine plans: what they say comes back, and a plan that cannot run here is refused in one line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.runtime.errors import AvolError
from avol.runtime.model_folder import bundled_model_folder, read_spec
from avol.runtime.plan_files import (
    PlanInfo,
    TensorInfo,
    plan_file_name,
    plan_info_path,
    read_plan,
    read_plan_info,
)

PLAN = b"an engine"
INFO = PlanInfo(
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    onnx_sha256="0" * 64,
    role="pair",
    precision="fp16",
    builder="tensorrt",
    builder_version="10.16.1.11",
    cuda_version="13.0",
    driver_version="580.65.06",
    gpu_name="NVIDIA Thor",
    compute_capability="11.0",
    profiles=(
        {
            "frames": ((1, 128, 128, 3), (8, 128, 128, 3), (32, 128, 128, 3)),
            "samples": ((1, 16387), (8, 16387), (32, 16387)),
        },
    ),
    inputs=(
        TensorInfo(name="frames", dtype="uint8", shape=(-1, 128, 128, 3)),
        TensorInfo(name="samples", dtype="float32", shape=(-1, 16387)),
    ),
    outputs=(TensorInfo(name="map", dtype="float32", shape=(-1, 8, 8)),),
    spec=read_spec(bundled_model_folder()),
    options={"hardware_compatibility": "none", "version_compatible": False, "dla_core": None, "workspace_bytes": 1},
)
HERE: dict[str, Any] = {"builder_version": "10.16.1.11", "gpu_name": "NVIDIA Thor", "compute_capability": "11.0"}


def write(folder: Path, info: PlanInfo = INFO, data: bytes = PLAN) -> Path:
    plan = folder / info.file_name
    plan.write_bytes(data)
    plan_info_path(plan).write_text(info.to_json(indent=2))
    return plan


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    plan = write(tmp_path)
    assert plan.name == plan_file_name("pair", "fp16", "tensorrt") == "pair.fp16.tensorrt.plan"
    assert plan_info_path(plan).name == "pair.fp16.tensorrt.plan.json"
    assert read_plan(plan) == (PLAN, INFO)
    without = replace(INFO, driver_version=None, gpu_name=None, compute_capability=None, builder="tensorrt-rtx")
    assert PlanInfo.from_json(without.to_json(), origin="it") == without


def test_it_is_json_that_others_can_read() -> None:
    values = json.loads(INFO.to_json())
    assert values["format"] == "avol.plan/1"
    assert values["profiles"][0]["samples"] == [[1, 16387], [8, 16387], [32, 16387]]
    assert values["inputs"][0] == {"name": "frames", "dtype": "uint8", "shape": [-1, 128, 128, 3]}
    assert values["spec"]["name"] == INFO.spec.name


def test_a_plan_that_fits_is_accepted() -> None:
    assert INFO.misfits(**HERE) == []
    INFO.require_fit(Path("pair.plan"), **HERE)


@pytest.mark.parametrize(
    ("here", "options", "words"),
    [
        ({"builder_version": "11.4.0.106"}, {}, ["TensorRT 10.16.1.11", "TensorRT 11.4.0.106"]),
        ({"builder_version": "11.4.0.106"}, {"version_compatible": True}, ["10.16.1.11", "11.4.0.106"]),
        ({"builder_version": "10.12.0.36"}, {"version_compatible": True}, ["10.16.1.11", "10.12.0.36"]),
        ({"builder_version": "10.16.2.0"}, {"version_compatible": True}, []),
        ({"gpu_name": "Orin", "compute_capability": "8.7"}, {}, ["NVIDIA Thor", "11.0", "Orin", "8.7"]),
        ({"gpu_name": "Orin", "compute_capability": "8.7"}, {"hardware_compatibility": "ampere-plus"}, []),
        ({"gpu_name": "T4", "compute_capability": "7.5"}, {"hardware_compatibility": "ampere-plus"}, ["T4", "7.5"]),
        ({"gpu_name": "Thor T4000"}, {}, ["built on NVIDIA Thor, here is Thor T4000"]),
        ({"gpu_name": "Thor T4000"}, {"hardware_compatibility": "same-compute-capability"}, []),
        ({"gpu_name": None, "compute_capability": None}, {"hardware_compatibility": "ampere-plus"}, ["None"]),
        ({"builder_version": "10.3.0", "compute_capability": "8.7"}, {}, ["10.3.0", "8.7"]),
    ],
)
def test_what_keeps_a_plan_from_running_is_named(
    here: dict[str, Any], options: dict[str, Any], words: list[str]
) -> None:
    info = replace(INFO, options={**INFO.options, **options})
    found = info.misfits(**{**HERE, **here})
    assert bool(found) == bool(words)
    if words:
        with pytest.raises(AvolError, match="avol export --engine tensorrt") as caught:
            info.require_fit(Path("model/pair.plan"), **{**HERE, **here})
        assert str(caught.value).startswith("model/pair.plan: ")
        assert all(word in str(caught.value) for word in words)


def test_a_plan_built_without_a_gpu_is_tied_to_none() -> None:
    info = replace(INFO, builder="tensorrt-rtx", gpu_name=None, compute_capability=None)
    here = {**HERE, "gpu_name": "NVIDIA GeForce RTX 5090", "compute_capability": "12.0"}
    assert info.misfits(**here) == []
    (clause,) = info.misfits(**{**here, "builder_version": "1.8"})
    assert clause == "built by TensorRT-RTX 10.16.1.11, here is TensorRT-RTX 1.8"


@pytest.mark.parametrize("capability", ["7.5", "8.7", "9.0", "10.0", "11.0"])
def test_tensorrt_rtx_is_for_rtx(capability: str) -> None:
    info = replace(INFO, builder="tensorrt-rtx", gpu_name=None, compute_capability=None)
    with pytest.raises(AvolError, match=r"here is H100 .*avol export --engine tensorrt\.$"):
        info.require_fit(
            Path("p"), builder_version=INFO.builder_version, gpu_name="H100", compute_capability=capability
        )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format": "avol.plan/2"}, "avol.plan/2"),
        ({"plan_sha256": "abc"}, "plan_sha256"),
        ({"builder": "onnx"}, "builder"),
        ({"precision": "fp8"}, "precision"),
        ({"cuda_version": None}, "cuda_version"),
        ({"gpu_name": 7}, "gpu_name"),
        ({"profiles": []}, "profiles"),
        ({"profiles": [{"frames": [[1], [2], [3]]}]}, "does not name the inputs"),
        ({"profiles": [{"frames": [[1], [8], [4]], "samples": [[1], [1], [1]]}]}, "do not grow"),
        ({"profiles": [{"frames": [[1], [8, 1], [9]], "samples": [[1], [1], [1]]}]}, "several ranks"),
        ({"profiles": [{"frames": [[1], [8]], "samples": [[1], [1], [1]]}]}, "three shapes"),
        ({"inputs": [{"name": "frames"}]}, "a tensor is"),
        ({"outputs": [{"name": "map", "dtype": 1, "shape": [1]}]}, "a tensor is"),
        ({"outputs": [{"name": "map", "dtype": "float32", "shape": [1.5]}]}, "a tensor is"),
        ({"options": {"a": [1]}}, "options"),
        ({"spec": None}, "spec"),
        ({"spec": {"format": "avol.model/1"}}, "model spec"),
        ({"more": 1}, "unknown ['more']"),
    ],
)
def test_a_side_file_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    plan = write(tmp_path)
    plan_info_path(plan).write_text(json.dumps({**json.loads(INFO.to_json()), **change}))
    with pytest.raises(AvolError) as caught:
        read_plan_info(plan)
    assert str(caught.value).startswith(f"{plan}.json: ")
    assert word in str(caught.value)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(json.dumps))
def test_any_text_is_an_info_or_a_mistake(text: str) -> None:
    with pytest.raises(AvolError, match=r"^it: "):
        PlanInfo.from_json(text, origin="it")


def can_be(name: str, value: Any) -> bool:
    """Whether a field may hold this value, which is no container with anything in it."""
    free = {"role", "builder_version", "cuda_version"}
    optional = {"driver_version", "gpu_name", "compute_capability"}
    return (isinstance(value, str) and name in free | optional) or (value is None and name in optional)


@given(st.sampled_from(sorted(json.loads(INFO.to_json()))), st.none() | st.integers() | st.text() | st.lists(st.none()))
def test_any_value_of_a_field_is_kept_or_a_mistake(name: str, value: Any) -> None:
    text = json.dumps({**json.loads(INFO.to_json()), name: value})
    if value == json.loads(INFO.to_json())[name] or can_be(name, value):
        assert json.loads(PlanInfo.from_json(text, origin="it").to_json())[name] == value
    else:
        with pytest.raises(AvolError, match=r"^it: "):
            PlanInfo.from_json(text, origin="it")


def test_missing_unreadable_and_foreign_files(tmp_path: Path) -> None:
    plan = write(tmp_path)
    plan.write_bytes(PLAN[:-1])
    with pytest.raises(AvolError, match="damaged, or not the engine that"):
        read_plan(plan)
    plan.unlink()
    with pytest.raises(AvolError, match="plan: cannot be read"):
        read_plan(plan)
    plan_info_path(plan).write_bytes(b"\xff\xfe")
    with pytest.raises(AvolError, match=r"plan\.json: cannot be read"):
        read_plan_info(plan)
    plan_info_path(plan).unlink()
    with pytest.raises(AvolError, match=r"pair\.fp16\.tensorrt\.plan\.json is not beside it"):
        read_plan_info(plan)
