"""The CPU backend under its former name; new code calls :func:`avol.runtime.backends.open_backend`."""

from avol.runtime.backends.contract import GRAPHS
from avol.runtime.backends.cpu import CpuBackend as OnnxBackend

__all__ = ["GRAPHS", "OnnxBackend"]
