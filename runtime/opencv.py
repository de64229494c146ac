"""OpenCV, imported when it is first used: it takes a tenth of a start, and a first inference seldom needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    import cv2
else:

    class _FirstUse:
        """Stands in for the module; what was asked for once is kept."""

        def __getattr__(self, name: str) -> object:
            try:
                import cv2 as module
            except (ImportError, OSError) as error:
                raise AvolError(f"OpenCV does not load ({error}); `avol doctor` says what is installed.") from None
            found = getattr(module, name)
            setattr(self, name, found)
            return found

    cv2 = _FirstUse()

__all__ = ["cv2"]
