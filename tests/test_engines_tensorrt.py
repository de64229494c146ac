"""TensorRT proper, as far as a machine without it can test: every name and argument against the real bindings.

``tensorrt_names/*.json`` come from the bindings of 10 and 11; the builder runs against stand-ins that know no more.
"""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.export import engines, engines_modules
from avol.export.engines import BuiltEngine, EngineOptions, build_engines
from avol.export.engines_build import DTYPES
from avol.export.engines_cache import cache_path, default_folder
from avol.export.engines_device import Device, cuda_version, current_device
from avol.export.engines_layers import (
    EngineLayer,
    check_types,
    count_reduced,
    layers_from_json,
    layers_from_log,
)
from avol.export.engines_log import BuildLog, BuildProgress
from avol.export.engines_modules import Builder
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import load_error
from engine_graphs import CHANNELS, small_tower, write_small_model
from tensorrt_fake import TENSORRT_VERSIONS, FakeTensorRT, new, read_names

ROOT = Path(__file__).resolve().parents[1]
RELEASES = [*(("tensorrt", version) for version in TENSORRT_VERSIONS), ("tensorrt_rtx", "1.7.1.116")]
# Names that only some releases have; the code asks for the version, or for the name, before it uses them.
ONLY_IN = {
    "BuilderFlag.FP16": ("10.",),
    "BuilderFlag.INT8": ("10.",),
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": ("10.",),
    "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY": ("10.16", "11.", "1.7"),
}
THOR = Device(gpu_name="NVIDIA Thor", compute_capability="11.0", driver_version="580.65.06")


def used_names() -> set[str]:
    """Every ``trt.X`` and ``trt.X.Y`` in export/ and runtime/, also of ``self._trt`` and ``builder.module``."""
    found = set()
    for path in [*(ROOT / "export").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            inner: ast.AST = node
            while isinstance(inner, ast.Attribute) and inner.attr not in {"module", "_trt"}:
                names.insert(0, inner.attr)
                inner = inner.value
            is_handle = (isinstance(inner, ast.Name) and inner.id == "trt") or (
                isinstance(inner, ast.Attribute)
                and isinstance(inner.value, ast.Name)
                and (inner.value.id, inner.attr) in {("builder", "module"), ("self", "_trt")}
            )
            if names and is_handle:
                found.add(".".join(names[:2]))
    return found - {"__version__"}


def test_the_names_are_found() -> None:
    assert {"Builder", "BuilderFlag.TF32", "ILogger", "OnnxParser", "Runtime"} <= used_names()
    assert len(used_names()) >= 20


@pytest.mark.parametrize(("package", "version"), RELEASES)
def test_every_name_exists_in_the_release(package: str, version: str) -> None:
    names = read_names(package, version)
    for used in used_names():
        cls, _, member = used.partition(".")
        exists = used in names["functions"] or (
            cls in names["classes"] and (not member or member in names["classes"][cls])
        )
        expected = ONLY_IN.get(used)
        assert exists == (expected is None or version.startswith(expected)), used


@pytest.mark.parametrize(("package", "version"), RELEASES)
def test_callbacks_have_the_arguments_of_the_interface(package: str, version: str) -> None:
    classes = read_names(package, version)["classes"]
    for name in ("phase_start", "step_complete", "phase_finish"):
        (signature,) = classes["IProgressMonitor"][name]
        assert list(inspect.signature(getattr(BuildProgress, name)).parameters)[1:] == signature["arguments"]
    (signature,) = classes["ILogger"]["log"]
    assert len(signature["arguments"]) == len(inspect.signature(BuildLog.log).parameters) - 1
    assert {"INTERNAL_ERROR", "ERROR", "WARNING"} <= classes["ILogger"]["Severity"].keys()


@pytest.mark.parametrize(("package", "version"), RELEASES)
def test_types_of_the_release_are_known(package: str, version: str) -> None:
    types = {name for name, value in read_names(package, version)["classes"]["DataType"].items() if type(value) is int}
    assert types - DTYPES.keys() <= {"FP8", "INT4", "FP4", "E8M0"}  # which no graph of avol has


def layers_json(version: str, *types: str) -> str:
    """What the engine inspector of a release gives for convolutions over these types."""
    words = {"float32": ("FP32", "Float"), "float16": ("FP16", "Half"), "int8": ("Int8", "Int8")}
    layers = []
    for number, kind in enumerate(types):
        old, short = words[kind]
        tensor: dict[str, Any] = {"Name": "t", "Location": "Device", "Dimensions": [1, 16, 32, 32]}
        if version.startswith("10."):
            tensor["Format/Datatype"] = f"Channel major {old} format where channel % 8 == 0"
        else:
            tensor |= {"Format": "Channel major format", "Datatype": short}
        kind_name = "CaskConvolution" if version.startswith("10.") else "correlation"
        layers.append({"Name": f"conv{number}", "LayerType": kind_name, "Inputs": [tensor], "Outputs": [tensor]})
    return json.dumps({"Layers": layers, "Bindings": ["frames", "grid"]})


def fake(version: str, **answers: Any) -> FakeTensorRT:
    """A release that parses and builds whatever it is given."""
    module = FakeTensorRT(version, {})
    frames = new(module, "ITensor", name="frames", dtype=module.DataType.UINT8, shape=(-1, 32, 32, 3))
    grid = new(module, "ITensor", name="grid", dtype=module.DataType.FLOAT, shape=(-1, CHANNELS, 32, 32))
    half = new(module, "ITensor", name="half", dtype=module.DataType.HALF, shape=(-1, CHANNELS, 32, 32))
    layers = [
        new(
            module,
            "ILayer",
            name=name,
            type=getattr(module.LayerType, kind),
            num_outputs=1,
            get_output=lambda _, t=t: t,
        )
        for name, kind, t in (
            ("weights", "CONSTANT", grid),
            ("conv1", "CONVOLUTION", half),
            ("scale", "ELEMENTWISE", grid),
        )
    ]
    tensors = {"get_input": lambda _: frames, "get_output": lambda _: grid, "get_layer": layers.__getitem__}
    network = new(module, "INetworkDefinition", num_inputs=1, num_outputs=1, num_layers=len(layers), **tensors)

    def build(builder: Any, network: Any, config: Any) -> bytes:
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 1)
        assert monitor.step_complete("Building engine", 0)
        monitor.phase_finish("Building engine")
        return b"a plan"

    module.answers |= {
        "Builder.create_network": network,
        "Builder.create_builder_config": lambda _: module.IBuilderConfig.__new__(module.IBuilderConfig),
        "Builder.create_optimization_profile": lambda _: module.IOptimizationProfile.__new__(
            module.IOptimizationProfile
        ),
        "Builder.build_serialized_network": build,
        "Builder.num_DLA_cores": 2,
        "OnnxParser.parse": True,
        "IBuilderConfig.add_optimization_profile": 0,
        "IBuilderConfig.create_timing_cache": lambda _, known: new(
            module, "ITimingCache", serialize=lambda: known + b"+"
        ),
        "IBuilderConfig.set_timing_cache": True,
        "IBuilderConfig.get_timing_cache": lambda _: new(module, "ITimingCache", serialize=lambda: b"measured"),
        "IBuilderConfig.can_run_on_DLA": lambda _, layer: layer.name == "conv1",
        "Runtime.deserialize_cuda_engine": lambda *_: new(module, "ICudaEngine"),
        "ICudaEngine.create_engine_inspector": lambda *_: new(module, "EngineInspector"),
        "EngineInspector.get_engine_information": layers_json(version, "float16", "float32"),
        **answers,
    }
    return module


def build(
    folder: Path, module: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, precision: str = "fp16", **options: Any
) -> tuple[BuiltEngine, list[str]]:
    """Build the small tower with a stand-in, as if on a Jetson Thor."""
    monkeypatch.setattr(engines, "current_device", lambda: THOR)
    monkeypatch.setattr(engines_modules, "import_builder", lambda name: Builder(name, module, module.__version__))
    write_small_model(folder, precision)
    said: list[str] = []
    (engine,) = build_engines(
        folder,
        precisions=(precision,),
        engine="tensorrt",
        batches=options.pop("batches", (1, 8)),
        options=EngineOptions(timing_caches=folder / "caches", **options),
        report=said.append,
    )
    return engine, said


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_an_fp16_engine_on_every_release(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(version)
    engine, said = build(tmp_path / "model", module, monkeypatch)
    assert engine.path.read_bytes() == b"a plan"
    assert engine.path.name == "frame.fp16.tensorrt.plan"
    assert (engine.types, engine.types_origin) == ("1 of 2 weighted layers in float16", "engine inspector")
    assert (engine.info.gpu_name, engine.info.compute_capability) == ("NVIDIA Thor", "11.0")
    assert (engine.info.builder_version, engine.info.driver_version) == (version, "580.65.06")
    (flags,) = module.called("Builder.create_network")
    set_flags = {flag.name for (flag,) in module.called("IBuilderConfig.set_flag")}
    pinned = module.called("ILayer.precision")
    if version.startswith("10.3"):
        assert flags == (0,)
        assert set_flags == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
        assert pinned == [(module.DataType.FLOAT,)]  # "scale"; the half convolution and the constant are left alone
        assert said == ["TensorRT 10.3.0 builds FP16 with the FP16 flag: float32 layers of the graph are pinned."]
        assert engine.info.options["typing"] == "FP16 flag"
    else:
        assert flags == (2 if version.startswith("10.") else 1,)
        assert set_flags == set()
        assert pinned == said == []
        assert engine.info.options["typing"] == "strong types"
    assert {flag.name for (flag,) in module.called("IBuilderConfig.clear_flag")} == {"TF32"}
    assert module.called("IOptimizationProfile.set_shape") == [
        ("frames", (1, 32, 32, 3), (8, 32, 32, 3), (8, 32, 32, 3))
    ]


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_an_int8_engine_on_every_release(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(version, **{"EngineInspector.get_engine_information": layers_json(version, "int8", "int8")})
    engine, said = build(tmp_path / "model", module, monkeypatch, "int8")
    assert engine.types == "2 of 2 weighted layers in int8"
    old = version.startswith("10.3")
    assert [flag.name for (flag,) in module.called("IBuilderConfig.set_flag")] == (["INT8"] if old else [])
    assert len(said) == old


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_an_fp16_engine_without_half_layers_is_an_error(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, words in ((layers_json(version, "float32"), "no fp16 engine"), ('{"Layers": ["a"]}', "cannot be read")):
        module = fake(version, **{"EngineInspector.get_engine_information": text})
        with pytest.raises(AvolError, match=words):
            build(tmp_path / "model", module, monkeypatch)
        assert not list((tmp_path / "model").glob("*plan*"))


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_options_reach_the_builder(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(version)
    options: dict[str, Any] = {"hardware_compatibility": "ampere-plus", "version_compatible": True, "tf32": True}
    engine, _ = build(
        tmp_path / "model",
        module,
        monkeypatch,
        workspace_bytes=1 << 28,
        optimization_level=5,
        profile_per_batch=True,
        **options,
    )
    assert "VERSION_COMPATIBLE" in {flag.name for (flag,) in module.called("IBuilderConfig.set_flag")}
    assert module.called("IBuilderConfig.clear_flag") == []
    assert module.called("IBuilderConfig.hardware_compatibility_level")[0][0].name == "AMPERE_PLUS"
    assert module.called("IBuilderConfig.builder_optimization_level") == [(5,)]
    assert module.called("IBuilderConfig.set_memory_pool_limit")[0][1] == 1 << 28
    assert len(module.called("IBuilderConfig.add_optimization_profile")) == 2
    assert module.called("Runtime.engine_host_code_allowed") == [(True,)]
    assert options.items() <= engine.info.options.items()


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_engines_for_one_compute_capability(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(version)
    if version.startswith("10.3"):
        with pytest.raises(AvolError, match=r"TensorRT 10\.3\.0 knows no engines for one compute capability"):
            build(tmp_path / "model", module, monkeypatch, hardware_compatibility="same-compute-capability")
        return
    build(tmp_path / "model", module, monkeypatch, hardware_compatibility="same-compute-capability")
    assert module.called("IBuilderConfig.hardware_compatibility_level")[0][0].name == "SAME_COMPUTE_CAPABILITY"


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_dla_and_what_falls_back(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(version)
    engine, said = build(tmp_path / "model", module, monkeypatch, dla_core=1, batches=(4,))
    assert module.called("IBuilderConfig.DLA_core") == [(1,)]
    assert module.called("IBuilderConfig.default_device_type") == [(module.DeviceType.DLA,)]
    assert "GPU_FALLBACK" in {flag.name for (flag,) in module.called("IBuilderConfig.set_flag")}
    assert said[-1] == "frame.fp16.tensorrt.plan: on the GPU, not on DLA: weights, scale"
    assert engine.info.options["dla_core"] == 1
    assert module.called("Runtime.DLA_core") == [(1,)]  # the inspector opens the engine


def test_with_dla_what_is_float32_goes_to_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake("10.16.1.11", **{"EngineInspector.get_engine_information": layers_json("10.16.1.11", "float16")})
    folder = write_small_model(tmp_path / "model", "fp16")
    onnx.save(small_tower("fp32", role="head"), folder / "head.onnx")
    monkeypatch.setattr(engines, "current_device", lambda: THOR)
    monkeypatch.setattr(engines_modules, "import_builder", lambda name: Builder(name, module, module.__version__))
    options = EngineOptions(timing_caches=tmp_path, dla_core=1)
    built = build_engines(
        folder, precisions=("fp16",), engine="tensorrt", batches=(4,), options=options, report=lambda _: None
    )
    assert {engine.info.role: engine.info.options["dla_core"] for engine in built} == {"frame": 1, "head": None}
    assert module.called("IBuilderConfig.DLA_core") == [(1,)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dla_core": 2, "batches": (4,)}, "DLA core 2: TensorRT 10.16.1.11 finds 2 of them here"),
        ({"dla_core": 0}, "DLA takes one fixed batch size"),
        ({"dla_core": 0, "batches": (4,), "precision": "fp32"}, "DLA computes in FP16 and INT8 alone"),
    ],
)
def test_dla_that_cannot_be(
    options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AvolError) as caught:
        build(tmp_path / "model", fake("10.16.1.11"), monkeypatch, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 17179869184 bytes.)", "has not the memory to build"),
        ("Error Code 1: Cuda Runtime (out of memory)", "has not the memory to build"),
        ("Error Code 10: Could not find any implementation for node conv1.", "for node conv1"),
    ],
)
def test_a_build_that_fails_says_why(said: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake("11.4.0.106")
    logs: list[Any] = []
    module.answers["Builder.create_builder_config"] = lambda _: new(module, "IBuilderConfig")
    made = module.Builder.__init__

    def remember(self: Any, logger: Any) -> None:
        made(self, logger)
        logs.append(logger)

    module.Builder.__init__ = remember

    def fail(*_: Any) -> None:
        logs[0].log(module.ILogger._members and type("S", (), {"name": "ERROR"})(), said)

    module.answers["Builder.build_serialized_network"] = fail
    with pytest.raises(AvolError) as caught:
        build(tmp_path / "model", module, monkeypatch)
    assert words in str(caught.value)
    assert not list((tmp_path / "model").glob("*.plan*"))


def test_an_engine_that_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake("11.4.0.106", **{"Runtime.deserialize_cuda_engine": lambda *_: None})
    with pytest.raises(AvolError, match=r"TensorRT 11\.4\.0\.106 built an engine that it does not open here"):
        build(tmp_path / "model", module, monkeypatch)


# --- timing caches


def test_the_timing_cache_is_kept_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake("10.16.1.11")
    build(tmp_path / "model", module, monkeypatch)
    (cache,) = (tmp_path / "model" / "caches").iterdir()
    assert cache.read_bytes() == b"measured"
    for part in ("tensorrt-10.16.1.11", "cuda", "driver580.65.06", "NVIDIA-Thor", "cc11.0"):
        assert part in cache.name
    build(tmp_path / "model", module, monkeypatch)
    assert [known for (known,) in module.called("IBuilderConfig.create_timing_cache")] == [b"", b"measured"]


def test_a_foreign_timing_cache_is_said_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake("10.16.1.11")
    build(tmp_path / "model", module, monkeypatch)
    module.answers["IBuilderConfig.set_timing_cache"] = lambda _, cache, ignore: cache.serialize() == b"+"
    _, said = build(tmp_path / "model", module, monkeypatch)
    assert len(said) == 1
    assert "a timing cache of something else; kernels are timed anew" in said[0]


def test_a_timing_cache_that_cannot_be_kept_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "caches").write_text("a file in the place of the folder")
    engine, said = build(tmp_path / "model", fake("10.16.1.11"), monkeypatch)
    assert engine.path.exists()
    assert len(said) == 2
    assert "the timing cache cannot be kept" in said[1]


def test_caches_differ_by_device_cuda_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder("tensorrt", None, "10.16.1.11")
    paths = {
        cache_path(tmp_path, builder, THOR, "13"),
        cache_path(tmp_path, builder, THOR, "12"),
        cache_path(tmp_path, replace(builder, version="11.4.0.106"), THOR, "13"),
        cache_path(tmp_path, builder, replace(THOR, gpu_name="NVIDIA Thor T4000"), "13"),
        cache_path(tmp_path, builder, replace(THOR, driver_version=None), "13"),
    }
    assert len(paths) == 5
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "avol" / "timing-caches"


# --- which builder


def test_auto_takes_tensorrt_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_modules, "import_builder", lambda name: Builder(name, None, "10.16"))
    said: list[str] = []
    with_gpu = engines_modules.choose_builder("auto", THOR, said.append)
    without = engines_modules.choose_builder("auto", None, said.append)
    assert with_gpu
    assert without
    assert (with_gpu.name, without.name, said) == ("tensorrt", "tensorrt-rtx", [])
    with pytest.raises(AvolError, match="builds on the GPU that the engine is for, and here is none"):
        engines_modules.choose_builder("tensorrt", None, said.append)


def test_engines_that_do_not_run_here_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_modules, "import_builder", lambda name: Builder(name, None, "1.7"))
    said: list[str] = []
    assert engines_modules.choose_builder("tensorrt-rtx", THOR, said.append)
    assert said == ["TensorRT-RTX 1.7 builds for RTX GPUs: its engines do not run on the NVIDIA Thor here."]
    assert engines_modules.choose_builder("tensorrt-rtx", replace(THOR, compute_capability="8.9"), said.append)
    assert len(said) == 1


def test_auto_says_why_tensorrt_does_not_build(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"tensorrt": Builder("tensorrt", None, "10.16"), "tensorrt-rtx": None}
    monkeypatch.setattr(engines_modules, "import_builder", found.__getitem__)
    said: list[str] = []
    assert engines_modules.choose_builder("auto", None, said.append) is None
    assert said == ["TensorRT 10.16 needs the GPU that the engine is for, and here is none."]


@pytest.mark.parametrize(
    ("name", "version", "typing"),
    [
        ("tensorrt", "10.3.0", "FP16 flag"),
        ("tensorrt", "10.11.0.33", "FP16 flag"),
        ("tensorrt", "10.12.0.36", "strong types"),
        ("tensorrt", "11.4.0.106", "strong types"),
        ("tensorrt-rtx", "1.2.0.54", "strong types"),
    ],
)
def test_how_precision_reaches_the_engine(name: str, version: str, typing: str) -> None:
    assert Builder(name, None, version).typing == typing


def test_the_device_is_none_or_complete() -> None:
    device = current_device()
    if device is not None:
        assert device.gpu_name
        assert device.compute_capability.count(".") == 1
    assert cuda_version("tensorrt-rtx")


# --- layers

KEYS = st.sampled_from(["Name", "LayerType", "Inputs", "Outputs", "Datatype", "Format/Datatype"])

LOG = """Layers:
Name: {ForeignNode[a...b]}_0, LayerType: kgen, Inputs: [ { Name: frames, Dimensions: [-1,3], Datatype: UInt8, \
Format: x }], Constants: [ { Name: c, Dimensions: [1,1], Datatype: Float, Format: y }], Outputs: [ { Name: r, \
Dimensions: [-1], Datatype: Half, Format: z }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: a]
Name: conv, LayerType: correlation, Inputs: [ { Name: r, Dimensions: [-1], Datatype: Half, Format: z }], Outputs: [], \
TacticName: t

I/O Tensors:
 Name: frames, IOMode: Input, DataType: UInt8, Dimensions: [-1,128,128,3]
"""


def test_layers_out_of_the_build_log() -> None:
    assert layers_from_log(LOG) == [
        EngineLayer("{ForeignNode[a...b]}_0", "kgen", ("uint8",), ("float16",)),
        EngineLayer("conv", "correlation", ("float16",), ()),
    ]
    assert layers_from_log("") == layers_from_log("Layers:\nnothing of the kind") == []


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_layers_out_of_the_inspector(version: str) -> None:
    types = [layer.inputs for layer in layers_from_json(layers_json(version, "float32", "float16", "int8"))]
    assert types == [("float32",), ("float16",), ("int8",)]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"Layers": null}', '{"Layers": ["conv1", "conv2"]}'])
def test_what_the_inspector_may_give_instead(text: str) -> None:
    assert layers_from_json(text) == []


VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)
)


@given(VALUES, st.text())
def test_any_answer_is_layers_or_none(values: Any, text: str) -> None:
    for answer in (json.dumps(values), json.dumps({"Layers": values}), json.dumps({"Layers": [values]}), text):
        assert all(isinstance(layer, EngineLayer) for layer in layers_from_json(answer))
    assert all(isinstance(layer, EngineLayer) for layer in layers_from_log(f"Layers:\nName: {text}, LayerType: {text}"))


def test_a_cast_is_no_half_layer() -> None:
    cast = EngineLayer("cast", "kgen", ("float16",), ("float32",))
    conv = EngineLayer("conv", "correlation", ("float32",), ("float32",))
    assert count_reduced([cast, conv], "fp16") == (0, 1)
    with pytest.raises(AvolError, match="none of its 1 weighted layers"):
        check_types(Path("frame.plan"), "fp16", [cast, conv])
    assert check_types(Path("frame.plan"), "fp32", []) == ""


def test_an_engine_that_does_not_load_names_versions_and_command() -> None:
    said = ["IRuntime::deserializeCudaEngine: Error Code 1: expecting library version 11.4.0 got\n 10.16.1"]
    message = str(load_error(Path("m/pair.fp16.tensorrt.plan"), "tensorrt", "11.4.0.106", said))
    assert message.startswith("m/pair.fp16.tensorrt.plan: TensorRT 11.4.0.106 does not open it: IRuntime")
    assert "got 10.16.1" in message
    assert message.endswith("Build it here: avol export --engine tensorrt.")
    assert "says nothing" in str(load_error(Path("p"), "tensorrt-rtx", "1.7", []))
