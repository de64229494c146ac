"""ONNX Runtime: finding it, opening a graph, and holding the graph against the model's spec."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avol.runtime.backends.contract import TENSORS, graph_path, tensor_shape
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.spec import GRAPH_KEY, PRECISION_KEY, RUNNING_KEY, SPEC_KEY, ModelSpec, RunningGrid

if TYPE_CHECKING:
    import onnxruntime

OF_TRACKS = ("samples", "columns")  # what a graph may take or give of a track of any length
_Tensor = tuple[str, str, tuple[int | None, ...]]
_ONNX_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


class GraphError(AvolError):
    """A graph that ONNX Runtime does not open; ``reason`` is what it says."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: not a usable ONNX graph ({reason}); run avol export again.")
        self.reason = reason


def import_engine(module: str, *, package: str, extra: str) -> Any:  # noqa: ANN401 (a module)
    """Import a library that an extra brings.

    Raises:
        UnavailableError: not installed, or installed and not loadable here.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or module).partition(".")[0] == module.partition(".")[0]:
            raise UnavailableError(
                f"{package}: not installed; {extra}.", reason=f"{package} is not installed"
            ) from None
        raise _unloadable(package, error) from None
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # half an installation fails in any way
        raise _unloadable(package, error) from None


def _unloadable(package: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{package}: installed, but cannot be loaded ({first_line(error)}); avol doctor says what is wrong with it.",
        reason=f"{package} cannot be loaded",
    )


def import_onnxruntime() -> Any:  # noqa: ANN401 (a module)
    """ONNX Runtime, whichever build is installed.

    Raises:
        UnavailableError: see :func:`import_engine`; also if what is installed is a remnant of it.
    """
    how = "pip install '.[cpu]' in avol's folder, or '.[gpu]' beside an NVIDIA driver"
    ort = import_engine("onnxruntime", package="onnxruntime", extra=how)
    if not hasattr(ort, "InferenceSession"):  # one of two builds was uninstalled and took the other's files along
        raise UnavailableError(
            "onnxruntime: its files are incomplete; uninstall onnxruntime and onnxruntime-gpu, then install one of "
            "them again.",
            reason="onnxruntime is incomplete",
        )
    return ort


def open_session(
    folder: Path,
    role: str,
    precision: str,
    spec: ModelSpec,
    options: onnxruntime.SessionOptions,
    providers: list[Any],
    *,
    batch: int | None = None,
) -> onnxruntime.InferenceSession:
    """A session whose metadata and tensors agree with the spec.

    Args:
        folder: of the model.
        role: of the graph.
        precision: of the graph.
        spec: of the model.
        options: of the session; free axes are fixed here.
        providers: as ONNX Runtime takes them.
        batch: the only batch size that the session will see; None: any.

    Raises:
        AvolError: missing, corrupt, or of another model.
    """
    ort = import_onnxruntime()
    path = graph_path(folder, role, precision)
    if not path.is_file():
        raise AvolError(f"{folder}: the model lacks {path.name}; export it again with avol export.")
    options.log_severity_level = 4  # what goes wrong is raised
    if batch is not None:
        options.add_free_dimension_override_by_name("batch", batch)
        options.add_free_dimension_override_by_name("length", spec.spectrogram.clip_samples)
        options.add_free_dimension_override_by_name("columns", spec.spectrogram.columns)
    try:
        # No second try on the CPU: by default ONNX Runtime prints a banner and takes it.
        session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:
        # ONNX Runtime raises its own types, which share no base but Exception.
        raise GraphError(path, first_line(error)) from None
    _check_contract(session, path, role, spec, batch)
    return session


def running_grid(session: onnxruntime.InferenceSession, origin: Path) -> RunningGrid | None:
    """How the audio tower in a session runs over a track; None: it takes windows alone.

    Raises:
        AvolError: what the file, ``origin``, says of it is wrong.
    """
    text = session.get_modelmeta().custom_metadata_map.get(RUNNING_KEY)
    return None if text is None else RunningGrid.from_json(text, origin=origin)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type's name."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _check_contract(
    session: onnxruntime.InferenceSession, path: Path, role: str, spec: ModelSpec, batch: int | None
) -> None:
    metadata = session.get_modelmeta().custom_metadata_map
    if SPEC_KEY not in metadata:
        raise AvolError(f"{path}: an ONNX file without avol's spec; export the model with avol export.")
    if metadata.get(GRAPH_KEY) != role:
        raise AvolError(f"{path}: holds the graph {metadata.get(GRAPH_KEY)!r}, not {role!r}; export the model again.")
    named = next((p for p in ("fp16", "int8") if path.name == f"{role}.{p}.onnx"), "fp32")
    if (held := metadata.get(PRECISION_KEY, "fp32")) != named:
        raise AvolError(f"{path}: computes in {held}, its name says {named}; export the model again.")
    graph_spec = ModelSpec.from_json(metadata[SPEC_KEY], origin=path)
    if different := graph_spec.differences(spec):
        raise AvolError(
            f"{path}: does not belong to the spec beside it: they differ in {', '.join(different)}; do not mix or edit "
            "exports: run avol export into an empty folder."
        )
    found = [*_tensors(session.get_inputs()), *_tensors(session.get_outputs())]
    expected = _expected_tensors(role, spec, batch, any_length=role == "spectrogram" or RUNNING_KEY in metadata)
    if found != expected:
        raise AvolError(f"{path}: its tensors are {found}, the spec says {expected}; export the model again.")


def _tensors(tensors: list[Any]) -> list[_Tensor]:
    """Names, types and sizes, None for free axes."""
    return [(t.name, t.type, tuple(size if isinstance(size, int) else None for size in t.shape)) for t in tensors]


def _expected_tensors(role: str, spec: ModelSpec, batch: int | None, *, any_length: bool) -> list[_Tensor]:
    expected: list[_Tensor] = []
    for name in (name for names in TENSORS[role] for name in names):
        sizes: tuple[int | None, ...] = tensor_shape(name, spec)
        if any_length and batch is None and name in OF_TRACKS:
            sizes = (*sizes[:-1], None)
        expected.append((name, _ONNX_TYPES["uint8" if name == "frames" else "float32"], (batch, *sizes)))
    return expected
