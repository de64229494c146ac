"""OpenCV, imported when it is first used: it takes a tenth of a start, and the first analysis needs none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cv2
else:

    class _FirstUse:
        """Stands in for the module; what was asked for once is kept."""

        def __getattr__(self, name: str) -> object:
            import cv2 as module

            found = getattr(module, name)
            setattr(self, name, found)
            return found

    cv2 = _FirstUse()

__all__ = ["cv2"]
