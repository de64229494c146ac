"""What is the same for all of a prepared folder: sizes, rates, shares."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

from avol import __version__
from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.data.split import Shares

FORMAT = "avol.pairs/1"
SETTINGS_FILE = "prepared.json"
CLIP_FRAME_SHARE = 1.125  # side of kept frames as a multiple of the network's: room to crop


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is the same for all clips of a prepared folder.

    Attributes:
        frame_side: pixels.
        sample_rate_hz: of the sound.
        margin_samples: of sound kept beyond both ends of a piece: half a window.
        frames_per_second: frames kept, at most.
        piece_seconds: length of the pieces that files are cut into.
        split: shares of train, validation and test; add up to 1.
        drop_still, drop_silent: whether clips without movement, or without any sound, were left out.
    """

    frame_side: int
    sample_rate_hz: int
    margin_samples: int
    frames_per_second: float = 3.0
    piece_seconds: float = 10.0
    split: Shares = (0.9, 0.08, 0.02)
    drop_still: bool = False
    drop_silent: bool = False


_SETTINGS_FIELDS = frozenset(field.name for field in dataclasses.fields(Settings))


def frame_side(spec: ModelSpec) -> int:
    """Side of the frames kept for a network, pixels."""
    return round(CLIP_FRAME_SHARE * spec.frame_height)


def is_prepared(folder: Path) -> bool:
    """Whether ``avol data prepare`` has written there."""
    return (folder / SETTINGS_FILE).is_file()


def write_settings(folder: Path, settings: Settings) -> None:
    """Write the settings, and the versions of what makes the clips, for the record.

    Raises:
        AvolError: they cannot be written.
    """
    versions = {"avol": __version__, "av": av.__version__, "numpy": np.__version__}
    record = {"format": FORMAT, **asdict(settings), "versions": versions}
    write_file(folder / SETTINGS_FILE, [(json.dumps(record, indent=2) + "\n").encode()])


def read_settings(folder: Path) -> Settings:
    """Settings of a prepared folder.

    Raises:
        AvolError: there are none, or they cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise AvolError(f"{folder}: not a prepared folder; make one with avol data prepare VIDEOS --out {folder}.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}, this version of avol reads {FORMAT!r}")
        values = {name: record[name] for name in _SETTINGS_FIELDS}
        return Settings(**values | {"split": tuple(map(float, values["split"]))})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise AvolError(f"{path}: not usable settings ({error}); prepare into another folder.") from None


def check_sizes(folder: Path, settings: Settings, spec: ModelSpec) -> None:
    """Raise AvolError if a prepared folder is not for a network's sizes."""
    needed = (frame_side(spec), spec.spectrogram.sample_rate_hz)
    if (settings.frame_side, settings.sample_rate_hz) != needed:
        raise AvolError(
            f"{folder}: holds frames of {settings.frame_side} pixels and sound at {settings.sample_rate_hz} Hz, preset "
            f"{spec.preset} takes {needed[0]} and {needed[1]}; prepare again with --preset {spec.preset}."
        )


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file under its final name, complete.

    Raises:
        AvolError: it cannot be written.
    """
    with AtomicOutput(path) as output:
        try:
            with output.temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
        except OSError as error:
            raise write_error(path, error) from None
        output.commit()
