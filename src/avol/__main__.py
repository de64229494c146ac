"""``python -m avol``: the same as ``avol``; what ``torchrun`` starts."""

from __future__ import annotations

import sys

from avol.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
