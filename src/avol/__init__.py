"""avol: find where in a picture a sound comes from.

Four rooms: :mod:`avol.runtime` runs a model on media (never imports torch), :mod:`avol.train` makes models,
:mod:`avol.export` turns them into graphs for devices, :mod:`avol.apps` are the doors (command line, demo).
"""

__version__ = "0.1.0"
