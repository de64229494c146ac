"""Engines really built by TensorRT-RTX on a CPU: their types, side files, options, and what goes wrong."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from avol.export import engines, engines_build, engines_modules
from avol.export.engines import BuiltEngine, EngineOptions, build_engines, choose_graphs
from avol.export.engines_graph import move_casts_before_transposes
from avol.export.engines_log import BuildProgress, run_interruptibly
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.plan_files import read_plan
from engine_graphs import CHANNELS, needs_rtx, rtx_version, small_tower, write_small_model

ALL = ("fp32", "fp16", "int8")


def build(folder: Path, *precisions: str, engine: str = "tensorrt-rtx", **changes: Any) -> list[BuiltEngine]:
    options = EngineOptions(**changes.pop("options", {}))
    arguments = {"batches": (1, 8, 32), "report": lambda _: None, **changes}
    return build_engines(folder, precisions=precisions or ALL, engine=engine, options=options, **arguments)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuiltEngine]:
    """The small tower in every precision, by precision."""
    folder = write_small_model(tmp_path_factory.mktemp("small") / "model", cast_first=False)
    return {engine.info.precision: engine for engine in build(folder)}


@needs_rtx
def test_every_precision_is_built_and_computes_in_its_type(built: dict[str, BuiltEngine]) -> None:
    assert list(built) == list(ALL)
    assert built["fp32"].types == ""
    assert built["fp16"].types == "2 of 2 weighted layers in float16"
    assert built["int8"].types == "2 of 2 weighted layers in int8"


@needs_rtx
@pytest.mark.parametrize("precision", ALL)
def test_the_side_file_tells_what_the_plan_is(built: dict[str, BuiltEngine], precision: str) -> None:
    engine = built[precision]
    assert engine.path.name == f"frame.{precision}.tensorrt-rtx.plan"
    data, info = read_plan(engine.path)
    assert info == engine.info
    assert info.plan_sha256 == hashlib.sha256(data).hexdigest()
    source = engine.path.with_name("frame.onnx" if precision == "fp32" else f"frame.{precision}.onnx")
    assert info.onnx_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert info.builder_version == rtx_version()
    assert int(info.cuda_version.split(".")[0]) >= 12
    assert info.gpu_name is None
    assert info.profiles == ({"frames": ((1, 32, 32, 3), (8, 32, 32, 3), (32, 32, 32, 3))},)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*info.inputs, *info.outputs)] == [
        ("frames", "uint8", (-1, 32, 32, 3)),
        ("grid", "float32", (-1, CHANNELS, 32, 32)),
    ]
    assert info.options["typing"] == "strong types"
    assert info.spec.to_json() == json.dumps(
        json.loads((bundled_model_folder() / "spec.json").read_text()), sort_keys=True
    )


@needs_rtx
def test_the_plan_is_what_the_builder_gave(
    built: dict[str, BuiltEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    real = engines_build.build_plan

    def spy(*arguments: Any, **named: Any) -> Any:
        plan = real(*arguments, **named)
        seen.append(plan.data)
        return plan

    monkeypatch.setattr(engines, "build_plan", spy)
    (engine,) = build(write_small_model(tmp_path / "model", "fp16"), "fp16")
    assert engine.path.read_bytes() == seen[0]


@needs_rtx
def test_a_profile_for_every_batch_size(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", "fp32")
    (engine,) = build(folder, "fp32", batches=(4, 1, 4), options={"profile_per_batch": True})
    assert engine.info.profiles == tuple({"frames": ((n, 32, 32, 3),) * 3} for n in (1, 4))


@needs_rtx
def test_the_bundled_graphs_become_engines(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundled_model_folder(), folder)
    found = build(folder, "fp32")
    assert [engine.info.role for engine in found] == ["audio", "frame", "head", "spectrogram"]
    (spectrogram,) = found[-1].info.profiles
    assert spectrogram == {"samples": ((1, 512), (8, 32387), (32, 128387))}


@needs_rtx
def test_the_bundled_towers_in_half(tmp_path: Path) -> None:
    """The real towers, by a converter that is not ours."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for role in ("frame", "audio"):
        model = onnx.load(bundled_model_folder() / f"{role}.onnx")
        move_casts_before_transposes(model)
        onnx.save(convert_float_to_float16(model, keep_io_types=True), tmp_path / f"{role}.fp16.onnx")
    found = build(tmp_path, "fp16")
    for engine in found:
        half, total = (int(word) for word in engine.types.split() if word.isdigit())
        assert half == total >= 10
        fp32 = (bundled_model_folder() / f"{engine.info.role}.onnx").stat().st_size
        assert engine.path.stat().st_size < 1.5 * fp32  # whose weights are stored in half


@needs_rtx
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_name_that_the_types_belie_is_refused(tmp_path: Path, precision: str) -> None:
    folder = write_small_model(tmp_path / "model", "fp32")
    (folder / "frame.onnx").rename(folder / f"frame.{precision}.onnx")
    before = files(folder)
    with pytest.raises(
        AvolError, match=rf"none of its 2 weighted layers computes in \w+, so it is no {precision} engine"
    ):
        build(folder, precision)
    assert files(folder) == before


@needs_rtx
def test_a_role_without_a_half_graph_stays_in_fp32(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", "fp16")
    shutil.copy(bundled_model_folder() / "head.onnx", folder)
    said: list[str] = []
    found = build(folder, "fp16", report=said.append)
    assert [engine.path.name for engine in found] == ["frame.fp16.tensorrt-rtx.plan", "head.fp32.tensorrt-rtx.plan"]
    assert said == ["no fp16 graph of head: built in fp32"]


@needs_rtx
def test_parser_errors_name_the_node_in_one_line(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", "fp32")
    model = onnx.load(folder / "frame.onnx")
    model.graph.node[2].op_type = "NoSuchOperator"
    onnx.save(model, folder / "frame.onnx")
    with pytest.raises(AvolError) as caught:
        build(folder, "fp32")
    message = str(caught.value)
    assert message.startswith(f"{folder / 'frame.onnx'}: TensorRT-RTX {rtx_version()} does not take this")
    assert "node conv1 (NoSuchOperator)" in message
    assert files(folder) == ["frame.onnx", "spec.json"]


@needs_rtx
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hardware_compatibility": "ampere-plus"}, "no option changes that"),
        ({"version_compatible": True}, "no option changes that"),
        ({"dla_core": 0}, "builds for no DLA core"),
    ],
)
def test_options_that_this_builder_cannot_honour(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    folder = write_small_model(tmp_path / "model", "fp16")
    with pytest.raises(AvolError, match=words):
        build(folder, "fp16", batches=(1,), options=options)
    assert files(folder) == ["frame.fp16.onnx", "spec.json"]


@needs_rtx
def test_a_failed_build_leaves_the_engine_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_small_model(tmp_path / "model", "fp16")
    build(folder, "fp16")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    real = importlib.import_module("tensorrt_rtx")

    class Refusing:
        def __init__(self, logger: Any) -> None:
            self._builder = real.Builder(logger)

        def __getattr__(self, name: str) -> Any:
            return (lambda *_: None) if name == "build_serialized_network" else getattr(self._builder, name)

    handle = type("Handle", (), {"__getattr__": lambda _, name: getattr(real, name), "Builder": Refusing})()
    monkeypatch.setattr(engines_modules, "import_builder", lambda name: engines_modules.Builder(name, handle, "1.0"))
    with pytest.raises(AvolError, match=r"frame\.fp16\.onnx: TensorRT-RTX 1\.0 does not build it: it does not say why"):
        build(folder, "fp16")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


INTERRUPTED = """
import sys
from pathlib import Path
from avol.export import engines_log
from avol.export.engines import EngineOptions, build_engines
real = engines_log.BuildProgress.phase_start
def slow(self, *arguments):  # the signal arrives while the builder is at work
    real(self, *arguments)
    if len(self.phases) == 3:
        print("building", flush=True)
        self.stop.wait(30)
engines_log.BuildProgress.phase_start = slow
try:
    build_engines(Path(sys.argv[1]), precisions=("fp16",), engine="tensorrt-rtx", batches=(1,), options=EngineOptions())
except KeyboardInterrupt:
    print("interrupted")
"""


@needs_rtx
def test_ctrl_c_stops_the_builder_and_leaves_nothing(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", "fp16")
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted\n"
    assert files(folder) == ["frame.fp16.onnx", "spec.json"]


@needs_rtx
def test_polygraphy_agrees_on_what_the_parser_takes(tmp_path: Path) -> None:
    """An opinion that is not ours; it also says why casts are moved before transposes."""
    pytest.importorskip("polygraphy", reason="polygraphy is not installed")
    onnx.save(onnx.load(bundled_model_folder() / "frame.onnx"), tmp_path / "frame.onnx")
    onnx.save(small_tower(cast_first=False), tmp_path / "bytes-moved.onnx")
    for precision in ("fp16", "int8"):
        onnx.save(small_tower(precision), tmp_path / f"{precision}.onnx")
    program = "import sys; from polygraphy.tools import main; sys.exit(main())"
    for name in ("frame", "fp16", "int8", "bytes-moved"):
        command = [sys.executable, "-c", program, "inspect", "capability", str(tmp_path / f"{name}.onnx")]
        environment = {**os.environ, "POLYGRAPHY_USE_TENSORRT_RTX": "1"}
        done = subprocess.run(
            [*command, "-o", str(tmp_path / name)], capture_output=True, text=True, env=environment, check=True
        )
        assert ("fully supported by TensorRT" in done.stdout) == (name != "bytes-moved"), done.stdout


# --- without a builder


def test_casts_move_before_transposes_and_nothing_changes() -> None:
    import onnxruntime

    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    results = []
    for model in (small_tower(cast_first=False), small_tower(cast_first=False), small_tower()):
        if results:
            move_casts_before_transposes(model)
            assert [node.op_type for node in model.graph.node[:2]] == ["Cast", "Transpose"]
            onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"frames": frames})[0])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_no_engine_is_no_work(tmp_path: Path) -> None:
    assert build(tmp_path / "nowhere", engine="none") == []


def test_auto_without_a_builder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_modules, "import_builder", lambda _: None)
    said: list[str] = []
    assert build(write_small_model(tmp_path / "model"), engine="auto", report=said.append) == []
    assert len(said) == 1
    assert "no engines: neither tensorrt nor tensorrt-rtx is installed" in said[0]


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_a_named_builder_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(engines_modules, "import_builder", lambda _: None)
    with pytest.raises(AvolError, match=rf"is not installed: pip install '\.\[{engine}\]' in avol's folder"):
        build(write_small_model(tmp_path / "model"), engine=engine)


def test_a_builder_whose_libraries_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(AvolError, match=r"tensorrt cannot be imported \(libnvinfer\.so\.10"):
        engines_modules.import_builder("tensorrt")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "openvino"}, "engine: 'openvino' is unknown; take one of auto, none, tensorrt, tensorrt-rtx"),
        ({"batches": ()}, "batch sizes: none"),
        ({"batches": (0, 8)}, "each at least 1"),
        ({"precisions": ("fp8",)}, "precision: 'fp8' is unknown"),
        ({"options": {"hardware_compatibility": "all"}}, "hardware compatibility: 'all' is unknown"),
        ({"options": {"optimization_level": 6}}, "6 is not one of 0 to 5"),
        ({"options": {"workspace_bytes": 0}}, "0 bytes are not enough"),
        ({"options": {"dla_core": -1}}, "the first one is 0"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    precisions = changes.pop("precisions", ("fp32",))
    with pytest.raises(AvolError) as caught:
        build(write_small_model(tmp_path / "model"), *precisions, **changes)
    assert words in str(caught.value)


def ignore(_: str) -> None:
    pass


def test_graphs_that_are_not_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AvolError, match="holds no graphs to build engines from"):
            choose_graphs(folder, ("fp32",), (), ignore)
    folder = write_small_model(tmp_path / "model", "fp32")
    with pytest.raises(AvolError, match="holds no int8 graph; export it with avol export --precision int8"):
        choose_graphs(folder, ("fp32", "int8"), (), ignore)
    with pytest.raises(AvolError, match="holds no graph pair; it has frame"):
        choose_graphs(folder, ("fp32",), ("pair",), ignore)
    (folder / "head.onnx").write_bytes((folder / "frame.onnx").read_bytes())
    chosen = choose_graphs(folder, ("fp16",), ("head",), ignore)  # float32 in every precision
    assert chosen == [("head", "fp32", folder / "head.onnx")]


@needs_rtx
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "carries no model spec"),
        (b"\xff" * 100, "not an ONNX file"),
        (small_tower(role="audio").SerializeToString(), "holds the graph audio, not frame"),
        (small_tower().SerializeToString()[:-2000], "frame.onnx"),
    ],
)
def test_files_that_are_no_graph_of_a_model(tmp_path: Path, content: bytes, words: str) -> None:
    folder = write_small_model(tmp_path / "model", "fp32")
    (folder / "frame.onnx").write_bytes(content)
    with pytest.raises(AvolError) as caught:
        build(folder, "fp32")
    assert words in str(caught.value)
    assert files(folder) == ["frame.onnx", "spec.json"]


@needs_rtx
def test_graphs_of_two_models_and_unknown_axes(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", "fp32", "fp16")
    model = onnx.load(folder / "frame.fp16.onnx")
    spec = next(item for item in model.metadata_props if item.key == "avol.spec")
    spec.value = json.dumps({**json.loads(spec.value), "weights_sha256": "0" * 64})
    onnx.save(model, folder / "frame.fp16.onnx")
    with pytest.raises(AvolError, match="holds graphs of several models"):
        build(folder, "fp32", "fp16")
    model = onnx.load(folder / "frame.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    onnx.save(model, folder / "frame.onnx")
    with pytest.raises(AvolError, match="input frames has the free axis height"):
        build(folder, "fp32")


def test_an_interrupt_stops_the_work_and_waits_for_it() -> None:
    stop, ended = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(30)
        time.sleep(0.05)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_interruptibly(work, stop)
    assert ended.is_set()


def test_what_fails_beside_the_main_thread_fails_in_it() -> None:
    with pytest.raises(ZeroDivisionError):
        run_interruptibly(lambda: 1 // 0, threading.Event())


def test_progress_follows_nested_phases_and_stops() -> None:
    progress = BuildProgress("frame fp16")
    progress.phase_start("Building engine", None, 2)
    progress.phase_start("Timing", "Building engine", 5)
    assert progress.step_complete("Timing", 0)
    progress.stop.set()
    assert not progress.step_complete("Timing", 1)
    progress.phase_finish("Timing")
    progress.close()
    assert progress.phases == ["Building engine", "Timing"]


def test_options_are_told_in_the_side_file() -> None:
    record = replace(EngineOptions(), dla_core=1, hardware_compatibility="ampere-plus").as_record()
    assert record["dla_core"] == 1
    assert record["hardware_compatibility"] == "ampere-plus"
