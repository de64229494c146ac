"""An engine plan on the GPU: read, held against its side file and the model, and deserialised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.runtime.backends.contract import ALWAYS_FLOAT32, TENSORS, TOWERS, tensor_dtype, tensor_shape
from avol.runtime.backends.cuda_device import CudaDevice
from avol.runtime.backends.onnx_sessions import import_engine
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.plan_files import PRODUCT_NAMES, PlanInfo, plan_file_name, read_plan
from avol.runtime.spec import ModelSpec

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
PREFERRED = ("fp16", "fp32", "int8")
_FOREIGN = "its engines are for another machine"


@dataclass
class Engine:
    """A deserialised engine.

    Attributes:
        role: of the graph.
        plan: its file.
        engine: TensorRT's.
        profiles: batch size -> the optimisation profile that serves it.
    """

    role: str
    plan: Path
    engine: Any
    profiles: dict[int, int]


def plan_path(folder: Path, role: str, precision: str, builder: str) -> Path:
    """The plan of a graph; spectrogram and head may be float32 beside towers of another precision."""
    path = folder / plan_file_name(role, precision, builder)
    return path if role not in ALWAYS_FLOAT32 or path.is_file() else folder / plan_file_name(role, "fp32", builder)


def choose_plans(folder: Path, builder: str, asked: str, roles: tuple[str, ...]) -> str:
    """The precision whose plans are all there.

    Raises:
        UnavailableError: none, or not the one asked for.
    """
    missing = ""
    for precision in PREFERRED if asked == "auto" else (asked,):
        absent = [path.name for role in roles if not (path := plan_path(folder, role, precision, builder)).is_file()]
        if not absent:
            return precision
        missing = missing or next((name for name in absent if name.startswith(TOWERS)), absent[0])
    kind = (
        f"{PRODUCT_NAMES[builder]} engines" if asked == "auto" else f"{asked.upper()} {PRODUCT_NAMES[builder]} engines"
    )
    raise UnavailableError(
        f"{folder}: holds no {kind} ({missing} is missing); build them on this machine with avol export "
        f"--engine {builder}.",
        reason="no engines in the model's folder",
    )


def import_tensorrt(builder: str) -> Any:  # noqa: ANN401 (a module)
    """``tensorrt`` or ``tensorrt_rtx``.

    Raises:
        UnavailableError: not installed, or not loadable.
    """
    how = f"pip install '.[{builder}]' in avol's folder"
    return import_engine(MODULES[builder], package=MODULES[builder], extra=how)


class EngineLoader:
    """Deserialises plans for one device.

    Args:
        trt: the module.
        builder: which of the two it is.
        device: whose context is current.
        spec: that the plans have to be of.
    """

    def __init__(self, trt: Any, builder: str, device: CudaDevice, spec: ModelSpec) -> None:  # noqa: ANN401
        self._trt, self._builder, self._device, self._spec = trt, builder, device, spec
        self._logger = _logger(trt)
        self._runtime = trt.Runtime(self._logger)

    def load(self, plan: Path) -> Engine:
        """Read, check and deserialise a plan.

        Raises:
            AvolError: damaged, or of another model.
            UnavailableError: built for another TensorRT or GPU; the message names both.
        """
        data, info = read_plan(plan)
        if different := info.spec.differences(self._spec):
            raise AvolError(
                f"{plan}: does not belong to the spec beside it: they differ in {', '.join(different)}; build it again "
                f"with avol export --engine {self._builder}."
            )
        self._require_fit(plan, info)
        if (core := info.options.get("dla_core")) is not None:
            self._runtime.DLA_core = core
        if info.options.get("version_compatible"):
            self._runtime.engine_host_code_allowed = True  # such a plan brings its own runtime along
        self._logger.messages.clear()
        engine = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise self._refused(plan, info)
        self._check_tensors(plan, info, engine)
        return Engine(info.role, plan, engine, _profiles(info))

    def _require_fit(self, plan: Path, info: PlanInfo) -> None:
        try:
            info.require_fit(
                plan,
                builder_version=self._trt.__version__,
                gpu_name=self._device.name,
                compute_capability=self._device.compute_capability,
            )
        except AvolError as error:
            raise UnavailableError(str(error), reason=_FOREIGN) from None

    def _differences(self, info: PlanInfo) -> list[str]:
        """What differs between where the plan was built and here, in case that explains a refusal."""
        product, version, gpu = PRODUCT_NAMES[self._builder], self._trt.__version__, self._device.name
        found = []
        if info.builder_version != version:
            found.append(f"built by {product} {info.builder_version}, here is {product} {version}")
        if info.gpu_name not in (None, gpu):
            found.append(f"built on {info.gpu_name}, here is {gpu}")
        return found or [f"{product} {version} on {gpu} does not open it"]

    def _refused(self, plan: Path, info: PlanInfo) -> UnavailableError:
        said = [
            message.rstrip(". ") for message in self._logger.messages[:1]
        ]  # the first names versions where they differ
        facts = "; ".join([*self._differences(info), *said])
        return UnavailableError(
            f"{plan}: {facts}. Build it here: avol export --engine {self._builder}.", reason=_FOREIGN
        )

    def _check_tensors(self, plan: Path, info: PlanInfo, engine: Any) -> None:  # noqa: ANN401
        """The buffers that the backend gives an engine have to be what the engine reads and writes."""
        trt, inputs = self._trt, TENSORS[info.role][0]
        found, expected = {}, {}
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = trt.nptype(engine.get_tensor_dtype(name))
            found[name] = (is_input, tensor_dtype(name).type if dtype is tensor_dtype(name).type else dtype)
        for name in (name for names in TENSORS[info.role] for name in names):
            expected[name] = (name in inputs, tensor_dtype(name).type)
        if found != expected:
            raise AvolError(
                f"{plan}: its tensors are {_in_words(found)}, the graph's are {_in_words(expected)}; build it again."
            )
        for profile in info.profiles:
            for name in inputs:
                smallest, _, largest = (shape[1:] for shape in profile[name])
                shape = tensor_shape(name, self._spec)
                if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
                    raise AvolError(f"{plan}: its profile does not hold {name} of shape {shape}; build it again.")


def _profiles(info: PlanInfo) -> dict[int, int]:
    """Batch sizes that the profiles name, each with the profile that is best at it."""
    served: dict[int, int] = {}
    for prefer_best in (True, False):
        for number, profile in enumerate(info.profiles):
            smallest, best, largest = next(iter(profile.values()))
            for batch in (best[0],) if prefer_best else (smallest[0], largest[0]):
                served.setdefault(batch, number)
    return served


def _in_words(tensors: dict[str, tuple[bool, Any]]) -> str:
    return ", ".join(
        f"{name} ({'in' if is_input else 'out'}, {dtype.__name__})" for name, (is_input, dtype) in tensors.items()
    )


def _logger(trt: Any) -> Any:  # noqa: ANN401
    """A logger that keeps errors for the message instead of printing them."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401 (TensorRT's)
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.messages.append(" ".join(msg.split()))

    return Logger()
