"""The layers of a finished engine and their types: whether an engine that is called FP16 computes in half at all."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.runtime.errors import AvolError

# By the words with which TensorRT 10, 11 and RTX name types: "Half", "Row major linear FP16 format" ...
TYPE_WORDS = {
    "float16": ("half", "fp16"),
    "bfloat16": ("bfloat16", "bf16"),
    "float32": ("float", "fp32"),
    "uint8": ("uint8",),
    "int8": ("int8",),
    "int32": ("int32",),
    "int64": ("int64",),
    "bool": ("bool",),
}
REDUCED = {"fp16": ("float16",), "int8": ("int8",)}
# Layers that multiply by weights, by the kinds that TensorRT 10, 11 and RTX give.
WEIGHTED = re.compile(r"conv|correlation|gemm|matrix|matmul|fully|fusion", re.IGNORECASE)
TEXT_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[.*?\], )?Outputs: \[(?P<outputs>.*)$",
    re.MULTILINE,
)
TEXT_TYPE = re.compile(r"(?:Format/)?Data[Tt]ype: ([^,}]*)")


@dataclass(frozen=True)
class EngineLayer:
    """A layer of an engine: its name, its kind, and NumPy's names of the types that it reads and writes."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def is_weighted(self) -> bool:
        """Whether it is a convolution or a matrix product, where the work is."""
        return bool(WEIGHTED.search(self.kind))


def layers_from_json(text: str) -> list[EngineLayer]:
    """Layers out of what the engine inspector gives (``LayerInformationFormat.JSON``); none if it gives names alone."""
    try:
        layers = list(json.loads(text)["Layers"])
    except (ValueError, KeyError, TypeError):
        return []
    return [
        EngineLayer(
            str(layer.get("Name")),
            str(layer.get("LayerType") or layer.get("ParameterType") or ""),
            _types(layer.get("Inputs")),
            _types(layer.get("Outputs")),
        )
        for layer in layers
        if isinstance(layer, dict)
    ]


def layers_from_log(text: str) -> list[EngineLayer]:
    """Layers out of the list that the builder logs when it has finished, where no driver can open the engine."""
    return [
        EngineLayer(
            match["name"],
            match["kind"],
            tuple(_type(word) for word in TEXT_TYPE.findall(match["inputs"])),
            tuple(_type(word) for word in TEXT_TYPE.findall(match["outputs"])),
        )
        for match in TEXT_LAYER.finditer(text)
    ]


def count_reduced(layers: list[EngineLayer], precision: str) -> tuple[int, int]:
    """How many layers read the reduced type of a precision, and of how many.

    Layers with weights count; in a graph that has none of them, all others.
    """
    counted = [layer for layer in layers if layer.is_weighted] or layers
    return sum(any(kind in layer.inputs for kind in REDUCED[precision]) for layer in counted), len(counted)


def check_types(plan: Path, precision: str, layers: list[EngineLayer]) -> str:
    """Hold the types of an engine's layers against its name.

    Returns:
        What was found, for the user: ``11 of 12 weighted layers in float16``; empty for FP32.

    Raises:
        AvolError: the layers are unknown, or none computes in the reduced type.
    """
    if precision not in REDUCED:
        return ""
    (kind,) = REDUCED[precision]
    if not layers:
        raise AvolError(f"{plan}: its layers' types cannot be read, so it cannot be called {precision}; not written.")
    reduced, total = count_reduced(layers, precision)
    if not reduced:
        raise AvolError(
            f"{plan}: none of its {total} weighted layers computes in {kind}, so it is no {precision} engine; "
            f"not written. Export the graph again with --precision {precision}."
        )
    return f"{reduced} of {total} weighted layers in {kind}"


def _types(tensors: Any) -> tuple[str, ...]:  # noqa: ANN401 (JSON)
    keys = {"datatype", "format/datatype"}
    return tuple(
        _type(str(value))
        for tensor in (tensors if isinstance(tensors, list) else ())
        if isinstance(tensor, dict)
        for key, value in tensor.items()
        if key.lower() in keys
    )


def _type(words: str) -> str:
    found = set(re.findall(r"[a-z0-9]+", words.lower()))
    return next((name for name, known in TYPE_WORDS.items() if found & set(known)), words.strip().lower())
