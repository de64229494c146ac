"""Run a model on media. Never imports torch.

``from avol.runtime import Localiser`` is the way in from Python. Importing this package alone is cheap: what is heavy
is imported when :class:`Localiser` is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avol.runtime.localiser import Localiser
    from avol.runtime.timeline import TimelineFrame

__all__ = ["Localiser", "TimelineFrame"]

_HOMES = {"Localiser": "avol.runtime.localiser", "TimelineFrame": "avol.runtime.timeline"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
