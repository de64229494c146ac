"""ONNX Runtime on an NVIDIA GPU: device tensors at fixed addresses, one CUDA graph per graph and batch size."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import Arrays, MapsAndScores
from avol.runtime.backends.batches import BUCKETS, Batch, BatchedBackend
from avol.runtime.backends.contract import GRAPHS, TENSORS, choose_precision, graph_path, tensor_dtype, tensor_shape
from avol.runtime.backends.nvidia import find_gpu
from avol.runtime.backends.onnx_sessions import GraphError, import_onnxruntime, open_session
from avol.runtime.backends.phases import NO_LAPS, LapClock
from avol.runtime.errors import UnavailableError
from avol.runtime.model_folder import read_spec

PROVIDER = "CUDAExecutionProvider"


class CudaBackend(BatchedBackend):
    """The graphs of one model folder on the CUDA provider, without any other CUDA package.

    For every batch size there is one device tensor per tensor name, which the graphs that make and take it share: a
    tower's output is the head's input where it lies. All axes of a session are fixed, so that everything, shapes
    included, is computed on the GPU and can be captured into a CUDA graph; sessions are opened at their first use.

    Args:
        folder: as ``avol export`` writes it.
        precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.
        buckets: batch sizes.

    Raises:
        AvolError: no usable model there.
        UnavailableError: no NVIDIA driver, no build of ONNX Runtime for CUDA, or not the libraries that it needs.
    """

    name = "onnxruntime-cuda"
    memory = "cuda"  # where ONNX Runtime puts tensors
    capture = True
    phases_note = "ONNX Runtime enqueues and waits in one call, so that enqueue is part of compute"

    def __init__(self, folder: Path, *, precision: str = "auto", buckets: tuple[int, ...] = BUCKETS) -> None:
        spec = read_spec(folder)
        self.device = self._find_device()
        super().__init__(folder, spec, choose_precision(folder, precision, ("fp16", "fp32")), buckets)
        self._ort = self._load_engine()
        self.provider = f"ONNX Runtime {self._ort.__version__}, CUDA graphs"
        self._tensors: dict[tuple[str, int], Any] = {}
        self._sessions: dict[tuple[str, int], tuple[Any, Any, Any]] = {}
        try:
            for role in GRAPHS:
                self._session(role, self.buckets[0])  # what is missing shows now, not at the first frame
        except BaseException:
            self.close()
            raise

    def localise_samples(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> MapsAndScores:
        """See :meth:`Backend.localise_samples`; in one graph where the folder has the fused one."""
        found = self.compute(self.pair_roles(), {"frames": frames, "samples": samples}, ("map", "score"))
        return found["map"], found["score"]

    def pair_roles(self) -> tuple[str, ...]:
        """See :meth:`BatchedBackend.pair_roles`."""
        is_fused = graph_path(self.folder, "pair", self.precision).is_file()
        return ("pair",) if is_fused else super().pair_roles()

    def files(self) -> list[Path]:
        """See :meth:`Backend.files`."""
        roles = dict.fromkeys((*GRAPHS, *self.pair_roles()))
        return [graph_path(self.folder, role, self.precision) for role in roles]

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        self._sessions.clear()  # before the tensors that their CUDA graphs address
        self._tensors.clear()

    def _compute_batches(self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch]) -> None:
        self._compute_in_turn(roles, inputs, outputs, batches, NO_LAPS)

    def _compute_in_turn(
        self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch], clock: LapClock
    ) -> None:
        for batch in batches:
            sessions = [self._session(role, batch.bucket) for role in roles]
            clock.start()
            for name, values in inputs.items():
                self._tensor(name, batch.bucket).update_inplace(_padded(values[batch.slice], batch.bucket))
            clock.lap("h2d")
            for session, binding, options in sessions:
                session.run_with_iobinding(binding, options)  # returns when the GPU has done it
            clock.lap("wait")
            for name, values in outputs.items():
                values[batch.slice] = self._tensor(name, batch.bucket).numpy()[: batch.rows]
            clock.lap("d2h")

    def _tensor(self, name: str, bucket: int) -> Any:  # noqa: ANN401 (an OrtValue)
        key = (name, bucket)
        if key not in self._tensors:
            shape = [bucket, *tensor_shape(name, self.spec)]
            self._tensors[key] = self._ort.OrtValue.ortvalue_from_shape_and_type(
                shape, tensor_dtype(name).type, self.memory, 0
            )
        return self._tensors[key]

    def _session(self, role: str, bucket: int) -> tuple[Any, Any, Any]:
        """A session for one batch size, its tensors bound, and how it is run."""
        key = (role, bucket)
        if key not in self._sessions:
            session = self._open(role, bucket)
            binding = session.io_binding()
            inputs, outputs = TENSORS[role]
            for name in inputs:
                binding.bind_ortvalue_input(name, self._tensor(name, bucket))
            for name in outputs:
                binding.bind_ortvalue_output(name, self._tensor(name, bucket))
            self._sessions[key] = session, binding, self._ort.RunOptions()
        return self._sessions[key]

    def _open(self, role: str, bucket: int) -> Any:  # noqa: ANN401 (a session)
        options = self._ort.SessionOptions()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # an error, not a slow surprise
        try:
            session = open_session(
                self.folder, role, self.precision, self.spec, options, self._providers(), batch=bucket
            )
        except GraphError as error:
            if not any(word in error.reason for word in ("CPU EP", "CUDA", "CUDNN", "cudnn")):
                raise  # the file's fault, not the device's
            raise UnavailableError(
                f"onnxruntime: its CUDA provider does not run {role} ({error.reason}); avol doctor says more.",
                reason="CUDA does not run the graphs",
            ) from None
        if PROVIDER not in session.get_providers() and self.capture:
            raise UnavailableError(
                "onnxruntime: its CUDA provider does not load here; avol doctor says which library is missing.",
                reason="the CUDA provider does not load",
            )
        return session

    def _providers(self) -> list[Any]:
        # TF32 rounds what is called float32 to ten bits.
        return [(PROVIDER, {"device_id": "0", "enable_cuda_graph": "1", "use_tf32": "0"})]

    def _find_device(self) -> str:
        return find_gpu().name

    def _load_engine(self) -> Any:  # noqa: ANN401 (a module)
        ort = import_onnxruntime()
        if PROVIDER not in ort.get_available_providers():
            raise UnavailableError(
                f"onnxruntime {ort.__version__}: this build has no CUDA; pip uninstall onnxruntime, then pip install "
                "'.[gpu]' in avol's folder.",
                reason="this onnxruntime has no CUDA",
            )
        preload_libraries(ort)
        return ort


def preload_libraries(ort: Any) -> str:  # noqa: ANN401 (a module)
    """Load the CUDA libraries that came as Python packages; gives what ONNX Runtime said of those it did not find."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ort.preload_dlls()
    return " ".join(said.getvalue().split())


def _padded(values: NDArray[Any], rows: int) -> NDArray[Any]:
    if len(values) == rows:
        return values
    result = np.zeros((rows, *values.shape[1:]), values.dtype)
    result[: len(values)] = values
    return result
