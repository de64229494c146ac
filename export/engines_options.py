"""How engines are built: the choices of ``avol export --engine``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.runtime.plan_files import BUILDERS, Option

ENGINES = ("auto", "none", *BUILDERS)
HARDWARE_COMPATIBILITY = ("none", "ampere-plus", "same-compute-capability")
DEFAULT_BATCHES = (1, 8, 32)
HIGHEST_OPTIMIZATION_LEVEL = 5


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Options of the builder; the defaults give the fastest engine for this very machine.

    Attributes:
        roles: of the graphs to build; none: all in the folder.
        hardware_compatibility: ``none``, ``ampere-plus`` (runs on Ampere and every later GPU) or
            ``same-compute-capability``; the latter two cost speed. TensorRT only.
        version_compatible: runs with later minor versions of the same TensorRT too. TensorRT only.
        dla_core: the deep learning accelerator of a Jetson to build for, None: the GPU.
        profile_per_batch: one optimisation profile of fixed shapes per batch size, in place of one for all.
        tf32: let float32 layers multiply in TF32 (10 bits of mantissa), which TensorRT itself allows by default.
        workspace_bytes: the most memory that a layer may use while it runs, None: all there is.
        optimization_level: 0 (built fast) to 5 (runs fast), None: the builder's own default.
        timing_caches: folder for timing caches, None: the user's cache folder.
    """

    roles: tuple[str, ...] = ()
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    dla_core: int | None = None
    profile_per_batch: bool = False
    tf32: bool = False
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    timing_caches: Path | None = None

    def __post_init__(self) -> None:
        if self.hardware_compatibility not in HARDWARE_COMPATIBILITY:
            raise AvolError(
                f"hardware compatibility: {self.hardware_compatibility!r} is unknown; "
                f"take one of {', '.join(HARDWARE_COMPATIBILITY)}."
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= HIGHEST_OPTIMIZATION_LEVEL:
            raise AvolError(f"optimisation level: {self.optimization_level} is not one of 0 to 5.")
        if self.workspace_bytes is not None and self.workspace_bytes <= 0:
            raise AvolError(f"workspace: {self.workspace_bytes} bytes are not enough; give more, or leave it out.")
        if self.dla_core is not None and self.dla_core < 0:
            raise AvolError(f"DLA core: {self.dla_core} is not a core; the first one is 0.")

    def as_record(self) -> dict[str, Option]:
        """What the side file of an engine says of them."""
        return {
            "hardware_compatibility": self.hardware_compatibility,
            "version_compatible": self.version_compatible,
            "dla_core": self.dla_core,
            "tf32": self.tf32,
            "workspace_bytes": self.workspace_bytes,
            "optimization_level": self.optimization_level,
        }


def check_batches(batches: tuple[int, ...]) -> tuple[int, ...]:
    """The batch sizes in order.

    Raises:
        AvolError: there is none, or one that is no positive number.
    """
    if not batches or any(size < 1 for size in batches):
        raise AvolError(f"batch sizes: {', '.join(map(str, batches)) or 'none'}; give one or more, each at least 1.")
    return tuple(sorted(set(batches)))
