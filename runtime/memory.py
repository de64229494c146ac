"""Memory of this process."""

from __future__ import annotations

import contextlib


def return_freed_memory() -> None:
    """Let the allocator give what was freed back to the system, where it can be asked to: glibc keeps it otherwise."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
