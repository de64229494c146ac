"""The vectors of many files in one ``.npz``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.embedder import Embedder, FileEmbeddings, Vectors
from avol.runtime.errors import AvolError

FORMAT = "avol.embeddings/1"


def embedding_arrays(
    files: Sequence[tuple[Path, FileEmbeddings]], embedder: Embedder, *, hop_seconds: float
) -> dict[str, NDArray[Any]]:
    """What the file holds, by name; ``F`` files, ``N`` windows of sound and ``M`` pictures in their order.

    - ``files``: text ``F``, as they were named.
    - ``sound_embeddings``: float32 ``N x E``; ``sound_file``: int64 ``N``, whose (a row of ``files``);
      ``sound_start_seconds``: float64 ``N``; ``sound_mean``: float32 ``F x E``, not-a-number where there is no sound.
    - ``frame_embeddings``, ``frame_file``, ``frame_time_seconds`` and ``frame_mean``: the same of pictures.
    - ``padded_seconds``: float64 ``F``, silence behind a sound that is shorter than a window.
    - ``format``, ``model_name``, ``model_sha256``, ``backend`` and ``precision``: text; ``window_seconds`` and
      ``hop_seconds``: float64.
    """
    size = embedder.spec.embedding_size
    found = [embeddings for _, embeddings in files]
    texts = {
        "format": FORMAT,
        "model_name": embedder.spec.name,
        "model_sha256": embedder.spec.weights_sha256,
        "backend": embedder.backend,
        "precision": embedder.precision,
    }
    return {
        **{name: np.array(text) for name, text in texts.items()},
        "window_seconds": np.array(embedder.spec.spectrogram.clip_seconds),
        "hop_seconds": np.array(hop_seconds),
        "files": np.array([_text(path) for path, _ in files], np.str_),
        "padded_seconds": np.array([one.padded_seconds for one in found], np.float64),
        "sound_embeddings": _joined([one.sounds for one in found], size),
        "sound_file": _owners([one.sounds for one in found]),
        "sound_start_seconds": np.concatenate([np.zeros(0), *(one.sound_start_seconds for one in found)]),
        "sound_mean": _means([one.sounds for one in found], size),
        "frame_embeddings": _joined([one.frames for one in found], size),
        "frame_file": _owners([one.frames for one in found]),
        "frame_time_seconds": np.concatenate([np.zeros(0), *(one.frame_time_seconds for one in found)]),
        "frame_mean": _means([one.frames for one in found], size),
    }


def open_embeddings(path: Path) -> AtomicOutput:
    """Where vectors go; earlier ones of that name are replaced when the new ones are complete.

    Raises:
        AvolError: nothing can be written there, or something has the name that avol embed did not write.
    """
    output = AtomicOutput(path)
    if os.path.exists(path) and not _is_own(path):  # noqa: PTH110 (Path.exists raises where a name is too long)
        raise AvolError(f"{path}: is there already and no file of avol embed; choose another name for --out.")
    return output


def _is_own(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as found:
            return str(found["format"]) == FORMAT
    except Exception:  # of NumPy, zipfile and zlib, by kind of file
        return False


def write_embeddings(output: AtomicOutput, arrays: dict[str, NDArray[Any]]) -> None:
    """Write and commit.

    Raises:
        AvolError: the file cannot be written.
    """
    with output:
        try:
            with output.temporary.open(
                "wb"
            ) as file:  # np.savez would change the name of a path; no array is called allow_pickle
                np.savez(file, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise write_error(output.path, error) from None
        output.commit()


def _text(path: Path) -> str:
    """A name as text that every reader of the file can print; bytes that are no text become ``\\udc..``."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _joined(parts: Sequence[Vectors], size: int) -> Vectors:
    return np.concatenate([np.zeros((0, size), np.float32), *parts])


def _owners(parts: Sequence[Vectors]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)


def _means(parts: Sequence[Vectors], size: int) -> Vectors:
    means = [part.mean(axis=0, dtype=np.float64) if len(part) else np.full(size, np.nan) for part in parts]
    return np.array(means, np.float32).reshape(len(parts), size)
