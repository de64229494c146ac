"""Engine plans in a model folder, and the side file that says what each was made from and where it runs.

An engine is two files: ``<role>.<precision>.<builder>.plan``, the bytes that TensorRT gave and nothing else, so that
trtexec and Triton read them as well, and ``<...>.plan.json``, a :class:`PlanInfo`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec

PLAN_FORMAT = "avol.plan/1"
BUILDERS = ("tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "int8")
# What TensorRT-RTX builds for by default: Ampere, Ada, and from Blackwell on, without data centres and Jetsons.
RTX_CAPABILITIES, RTX_CAPABILITIES_FROM = ((8, 0), (8, 6), (8, 9)), (12, 0)
PRODUCT_NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}

Shape: TypeAlias = tuple[int, ...]
ShapeRange: TypeAlias = tuple[Shape, Shape, Shape]  # smallest, best, largest
Option: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output of an engine; ``dtype`` is NumPy's name of it, a free axis of ``shape`` is -1."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class PlanInfo:
    """What an engine plan was made from, by what, and for which device.

    Attributes:
        plan_sha256: hash of the plan's bytes.
        onnx_sha256: hash of the ONNX file that it was built from.
        role: of the graph: ``frame``, ``pair`` ...
        precision: ``fp32``, ``fp16`` or ``int8``.
        builder: ``tensorrt`` or ``tensorrt-rtx``.
        builder_version: all parts of it, e.g. ``10.16.1.11``.
        cuda_version: of the CUDA runtime that the builder came with, e.g. ``13.0``.
        driver_version: of the NVIDIA driver of the machine that built it; None where there was none.
        gpu_name: of the GPU that it was built on; None: built without one, for every GPU that the builder supports.
        compute_capability: of that GPU, e.g. ``8.7``; None: as above.
        profiles: optimisation profiles in the engine's order, each from input name to (smallest, best, largest) shape.
        inputs, outputs: the tensors.
        options: how it was built: ``hardware_compatibility`` (``none``, ``ampere-plus``,
            ``same-compute-capability``), ``version_compatible``, ``dla_core`` (None: GPU), and others for the reader.
        spec: of the model.
    """

    plan_sha256: str
    onnx_sha256: str
    role: str
    precision: str
    builder: str
    builder_version: str
    cuda_version: str
    driver_version: str | None
    gpu_name: str | None
    compute_capability: str | None
    profiles: tuple[dict[str, ShapeRange], ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    spec: ModelSpec
    options: dict[str, Option] = field(default_factory=dict)
    format: str = PLAN_FORMAT

    @property
    def file_name(self) -> str:
        """The plan's name in a model folder."""
        return plan_file_name(self.role, self.precision, self.builder)

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON text with sorted keys."""
        return json.dumps(dataclasses.asdict(self), indent=indent, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, origin: str | Path) -> PlanInfo:
        """Read it back; ``origin`` names the file in the message.

        Raises:
            AvolError: the text is not of this format.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("it is not a JSON object")
            if values.get("format") != PLAN_FORMAT:
                raise ValueError(f"its format is {values.get('format')!r}, this version of avol reads {PLAN_FORMAT!r}")
            return _build(values, origin=origin)
        except (ValueError, RecursionError) as error:
            raise AvolError(f"{origin}: does not describe an engine: {error}; build the engine again.") from None

    def misfits(self, *, builder_version: str, gpu_name: str | None, compute_capability: str | None) -> list[str]:
        """What keeps the plan from running here, one clause each; empty: nothing that is known beforehand.

        Args:
            builder_version: of the TensorRT or TensorRT-RTX here, which the caller chose by :attr:`builder`.
            gpu_name: of the GPU here.
            compute_capability: of the GPU here, e.g. ``8.7``.
        """
        found = []
        if not self._version_fits(builder_version):
            product = PRODUCT_NAMES[self.builder]
            found.append(f"built by {product} {self.builder_version}, here is {product} {builder_version}")
        if self.builder == "tensorrt-rtx" and compute_capability is not None and not runs_on_rtx(compute_capability):
            found.append(
                f"TensorRT-RTX runs on compute capability 8.0, 8.6, 8.9, 12.0 and later, "
                f"here is {gpu_name} ({compute_capability})"
            )
        compatibility = self.options.get("hardware_compatibility", "none")
        if self.compute_capability is not None and not self._capability_fits(compute_capability, compatibility):
            found.append(
                f"built on {self.gpu_name} (compute capability {self.compute_capability}), "
                f"here is {gpu_name} ({compute_capability})"
            )
        elif self.gpu_name is not None and compatibility == "none" and self.gpu_name != gpu_name:
            found.append(f"built on {self.gpu_name}, here is {gpu_name}")
        return found

    def require_fit(
        self, plan: Path, *, builder_version: str, gpu_name: str | None, compute_capability: str | None
    ) -> None:
        """Refuse a plan that cannot run here; ``plan`` names it in the message, the rest is as for :meth:`misfits`.

        Raises:
            AvolError: names both versions or both GPUs, and the command that builds the engine anew.
        """
        found = self.misfits(builder_version=builder_version, gpu_name=gpu_name, compute_capability=compute_capability)
        if found:
            can_run = compute_capability is None or runs_on_rtx(compute_capability)
            builder = self.builder if can_run else "tensorrt"
            raise AvolError(f"{plan}: {'; '.join(found)}. Build it here: avol export --engine {builder}.")

    def _version_fits(self, here: str) -> bool:
        if here == self.builder_version:
            return True
        if not self.options.get("version_compatible"):
            return False
        built, running = _numbers(self.builder_version), _numbers(here)
        return built[:1] == running[:1] and running >= built  # within a major version, by the same or a newer one

    def _capability_fits(self, here: str | None, compatibility: Option) -> bool:
        if compatibility == "ampere-plus":
            return here is not None and _numbers(here) >= (8, 0)
        return here == self.compute_capability


def runs_on_rtx(compute_capability: str) -> bool:
    """Whether the engines that TensorRT-RTX builds by default run on GPUs of this compute capability."""
    numbers = _numbers(compute_capability)
    return numbers in RTX_CAPABILITIES or numbers >= RTX_CAPABILITIES_FROM


def plan_file_name(role: str, precision: str, builder: str) -> str:
    """The name of an engine plan in a model folder, e.g. ``pair.fp16.tensorrt-rtx.plan``."""
    return f"{role}.{precision}.{builder}.plan"


def plan_info_path(plan: Path) -> Path:
    """The side file of a plan: the whole name of the plan, and ``.json``."""
    return plan.with_name(f"{plan.name}.json")


def read_plan_info(plan: Path) -> PlanInfo:
    """The side file of a plan.

    Raises:
        AvolError: it is missing, cannot be read, is not of this format, or describes an engine of another name.
    """
    path = plan_info_path(plan)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AvolError(f"{plan}: {path.name} is not beside it; build the engine with avol export --engine.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AvolError(f"{path}: cannot be read ({error}); build the engine again.") from None
    return PlanInfo.from_json(text, origin=path)


def read_plan(plan: Path) -> tuple[bytes, PlanInfo]:
    """The bytes of a plan, held against its side file before anything deserialises them.

    Raises:
        AvolError: one of the two cannot be read, or they do not belong together.
    """
    info = read_plan_info(plan)
    try:
        data = plan.read_bytes()
    except OSError as error:
        raise AvolError(f"{plan}: cannot be read ({error.strerror}); build the engine again.") from None
    if hashlib.sha256(data).hexdigest() != info.plan_sha256:
        raise AvolError(
            f"{plan}: damaged, or not the engine that {plan_info_path(plan).name} describes; build it again."
        )
    return data, info


def load_error(plan: Path, builder: str, builder_version: str, said: Sequence[str]) -> AvolError:
    """The user's message where deserialising gave None.

    Args:
        plan: the file.
        builder: ``tensorrt`` or ``tensorrt-rtx``.
        builder_version: of the one here.
        said: the errors that the library logged, oldest first; they name versions where those differ.
    """
    reason = said[0].rstrip(". \n") if said else "it says nothing about why"
    return AvolError(
        f"{plan}: {PRODUCT_NAMES[builder]} {builder_version} does not open it: {reason}. "
        f"Build it here: avol export --engine {builder}."
    )


def _build(values: dict[str, Any], *, origin: str | Path) -> PlanInfo:
    names = {f.name for f in dataclasses.fields(PlanInfo)}
    unknown, missing = values.keys() - names, names - values.keys()
    if unknown or missing:
        raise ValueError(f"it lacks {sorted(missing)} and has unknown {sorted(unknown)}")
    for name, matches in _CHECKS.items():
        if not matches(values[name]):
            raise ValueError(f"{name} is {values[name]!r}")
    profiles = tuple({name: _shape_range(shapes) for name, shapes in profile.items()} for profile in values["profiles"])
    inputs = tuple(_tensor(item) for item in values["inputs"])
    outputs = tuple(_tensor(item) for item in values["outputs"])
    if any(profile.keys() != {tensor.name for tensor in inputs} for profile in profiles):
        raise ValueError("a profile does not name the inputs")
    spec = ModelSpec.from_json(json.dumps(values["spec"]), origin=origin)
    return PlanInfo(**{**values, "profiles": profiles, "inputs": inputs, "outputs": outputs, "spec": spec})


def _shape_range(value: Any) -> ShapeRange:  # noqa: ANN401 (JSON)
    if not (isinstance(value, list) and len(value) == 3 and all(_is_shape(shape) for shape in value)):
        raise ValueError(f"a profile has {value!r}, expected three shapes")
    smallest, best, largest = (tuple(shape) for shape in value)
    if not len(smallest) == len(best) == len(largest):
        raise ValueError(f"a profile has {value!r}, shapes of several ranks")
    if any(not 0 < low <= middle <= high for low, middle, high in zip(smallest, best, largest, strict=True)):
        raise ValueError(f"a profile has {value!r}, which do not grow")
    return smallest, best, largest


def _tensor(value: Any) -> TensorInfo:  # noqa: ANN401 (JSON)
    if not isinstance(value, dict) or value.keys() != {"name", "dtype", "shape"} or not _is_shape(value["shape"]):
        raise ValueError(f"a tensor is {value!r}")
    if not (isinstance(value["name"], str) and isinstance(value["dtype"], str)):
        raise ValueError(f"a tensor is {value!r}")
    return TensorInfo(name=value["name"], dtype=value["dtype"], shape=tuple(value["shape"]))


def _is_shape(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, list) and all(type(size) is int and size >= -1 for size in value)


def _is_text(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return value is None or isinstance(value, str)


def _is_hash(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _are_options(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, dict) and all(
        item is None or isinstance(item, str | int | float) for item in value.values()
    )


def _are_objects(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "plan_sha256": _is_hash,
    "onnx_sha256": _is_hash,
    "role": _is_text,
    "precision": lambda value: value in PRECISIONS,
    "builder": lambda value: value in BUILDERS,
    "builder_version": _is_text,
    "cuda_version": _is_text,
    "driver_version": _is_text_or_none,
    "gpu_name": _is_text_or_none,
    "compute_capability": _is_text_or_none,
    "profiles": _are_objects,
    "inputs": _are_objects,
    "outputs": _are_objects,
    "options": _are_options,
    "spec": lambda value: isinstance(value, dict),
}
