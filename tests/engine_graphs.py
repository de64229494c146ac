"""Model folders to build engines from: a small tower in float32, half and INT8, and the bundled one converted."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avol.runtime.model_folder import bundled_model_folder, read_spec
from avol.runtime.spec import GRAPH_KEY, SPEC_KEY

CHANNELS = 16


def _lacks_rtx() -> str:
    """Why TensorRT-RTX cannot be used; empty if it can."""
    try:
        importlib.import_module("tensorrt_rtx")
    except (ImportError, OSError) as error:
        return f"tensorrt_rtx cannot be imported: {error}"
    return ""


LACKS_RTX = _lacks_rtx()
needs_rtx = pytest.mark.skipif(bool(LACKS_RTX), reason=LACKS_RTX)


def rtx_version() -> str:
    """Of the TensorRT-RTX that is installed."""
    return str(importlib.import_module("tensorrt_rtx").__version__)


def small_tower(precision: str = "fp32", *, role: str = "frame", cast_first: bool = True) -> onnx.ModelProto:
    """Two convolutions over uint8 pictures, as the frame tower begins: ``N x 32 x 32 x 3`` to ``N x 16 x 32 x 32``."""
    rng = np.random.default_rng(0)
    kind, dtype = (TensorProto.FLOAT16, np.float16) if precision == "fp16" else (TensorProto.FLOAT, np.float32)
    layout = [
        helper.make_node("Cast", ["frames"], ["moved"], name="cast", to=kind),
        helper.make_node("Transpose", ["moved"], ["c0"], name="transpose", perm=[0, 3, 1, 2]),
    ]
    if not cast_first:
        layout = [
            helper.make_node("Transpose", ["frames"], ["moved"], name="transpose", perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["moved"], ["c0"], name="cast", to=kind),
        ]
    nodes, initializers, channels = layout, [], 3
    for layer in (1, 2):
        weight = rng.normal(0, 0.1, (CHANNELS, channels, 3, 3)).astype(dtype)
        initializers.append(numpy_helper.from_array(weight, f"w{layer}"))
        inputs = [f"c{layer - 1}", f"w{layer}"]
        if precision == "int8":
            inputs = [quantised(name, nodes, initializers, weight if name[0] == "w" else None) for name in inputs]
        nodes.append(helper.make_node("Conv", inputs, [f"p{layer}"], name=f"conv{layer}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"p{layer}"], [f"c{layer}"], name=f"relu{layer}"))
        channels = CHANNELS
    nodes.append(helper.make_node("Cast", ["c2"], ["grid"], name="out", to=TensorProto.FLOAT))
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", 32, 32, 3])
    grid = helper.make_tensor_value_info("grid", TensorProto.FLOAT, ["batch", CHANNELS, 32, 32])
    graph = helper.make_graph(nodes, "tower", [frames], [grid], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {SPEC_KEY: read_spec(bundled_model_folder()).to_json(), GRAPH_KEY: role})
    onnx.checker.check_model(model, full_check=True)
    return model


def quantised(name: str, nodes: list[Any], initializers: list[Any], weight: Any = None) -> str:
    """Put a symmetric Q/DQ pair behind a tensor; a weight is stored as int8, per channel."""
    axis = {"axis": 0} if weight is not None else {}
    scale = np.float32(0.05) if weight is None else np.abs(weight).max(axis=(1, 2, 3)).astype(np.float32) / 127
    initializers.append(numpy_helper.from_array(np.asarray(scale), f"{name}_scale"))
    initializers.append(numpy_helper.from_array(np.zeros(np.shape(scale), np.int8), f"{name}_zero"))
    parameters = [f"{name}_scale", f"{name}_zero"]
    source = f"{name}_q"
    if weight is None:
        nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [source], name=f"{name}_quantize"))
    else:
        del initializers[next(n for n, item in enumerate(initializers) if item.name == name)]
        values = np.round(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        initializers.append(numpy_helper.from_array(values, source))
    nodes.append(helper.make_node("DequantizeLinear", [source, *parameters], [f"{name}_dq"], name=f"{name}_dq", **axis))
    return f"{name}_dq"


def write_small_model(folder: Path, *precisions: str, **changes: Any) -> Path:
    """A model folder with the small tower in these precisions."""
    folder.mkdir(exist_ok=True)
    shutil.copy(bundled_model_folder() / "spec.json", folder)
    for precision in precisions or ("fp32", "fp16", "int8"):
        name = "frame.onnx" if precision == "fp32" else f"frame.{precision}.onnx"
        onnx.save(small_tower(precision, **changes), folder / name)
    return folder
