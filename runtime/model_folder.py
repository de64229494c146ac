"""Where a model lives: a folder with one ONNX file per graph and the spec, as ``avol export`` writes it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec

SPEC_FILE = "spec.json"
CHECKPOINT_FILE = "checkpoint.safetensors"
DEFAULT_MODEL = "avol-128-half-width"
_HERE = Path(__file__).parent


def bundled_model_folder(name: str = DEFAULT_MODEL) -> Path:
    """The folder of a model that ships with the package."""
    return _HERE / "models" / name


def bundled_sample() -> Path:
    """The video that ships with the package."""
    return _HERE / "samples" / "two-instruments.mp4"


def is_exported(path: Path) -> bool:
    """Whether a model is a folder of graphs, and not a checkpoint or the folder of a run that holds one.

    A folder with neither counts as exported: what it lacks is then said of the graphs.
    """
    # os.path never raises: a name too long for the file system is left for opening it to report.
    return os.path.isdir(path) and ((path / SPEC_FILE).exists() or not (path / CHECKPOINT_FILE).exists())  # noqa: PTH112


def read_spec(folder: Path) -> ModelSpec:
    """The spec of the model in a folder.

    Raises:
        AvolError: there is no such folder, or no model in it.
    """
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except OSError:  # also of a name that is too long
        raise AvolError(f"{folder}: no such model; name a folder that avol export wrote.") from None
    if not is_folder:
        raise AvolError(f"{folder}: a file, not a model; name the folder that avol export wrote.")
    path = folder / SPEC_FILE
    if not path.is_file():
        raise AvolError(f"{folder}: not a model: it holds no {SPEC_FILE}; name a folder that avol export wrote.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AvolError(f"{path}: cannot be read ({error}); export the model again with avol export.") from None
    return ModelSpec.from_json(text, origin=path)
