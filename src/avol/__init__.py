"""avol: find where in a picture a sound comes from.

Four rooms: :mod:`avol.runtime` runs a model on media (never imports torch), :mod:`avol.train` makes models,
:mod:`avol.export` turns them into graphs for devices, :mod:`avol.apps` are the doors (command line, demo).
"""

import os

# ONNX Runtime's wheels for Linux report to their maker from 1.32 on; it reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
