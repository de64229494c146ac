"""The contract that travels with every artefact: checkpoint, ONNX metadata and engine side file carry one ModelSpec."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from avol.runtime.errors import AvolError

T = TypeVar("T")

FORMAT = "avol.model/1"
SPEC_KEY = "avol.spec"  # the key under which ONNX and safetensors metadata hold the spec
GRAPH_KEY = "avol.graph"  # the key under which ONNX metadata hold the graph's role
PRECISION_KEY = "avol.precision"  # the same for what its towers compute in; float32 where it is missing
RUNNING_KEY = "avol.running"  # the same for how an audio tower runs over a track; it does not where it is missing


LOG_POWER, WAVEFORM = "log-power", "waveform"


@dataclass(frozen=True, kw_only=True)
class SpectrogramSpec:
    """How samples become columns: everything an implementation must agree on.

    Of kind ``waveform``, a column is ``hop_samples`` samples as they are, one in each row.

    Of kind ``log-power``, a column covers ``window_samples`` Hann-weighted samples; column ``k`` starts at sample
    ``k * hop_samples``. Row ``r`` is the mean power of FFT bins ``first_bin + r * bins_per_row`` and following; a value
    is ``(log(power + power_floor) - log_mean) / log_scale``.
    """

    sample_rate_hz: int
    window_samples: int
    fft_samples: int
    hop_samples: int
    first_bin: int
    bins_per_row: int
    rows: int
    columns: int
    power_floor: float
    log_mean: float
    log_scale: float
    kind: str = LOG_POWER

    def __post_init__(self) -> None:
        if self.kind not in {LOG_POWER, WAVEFORM}:
            raise ValueError(f"the kind of sound is {self.kind!r}, allowed are {LOG_POWER!r} and {WAVEFORM!r}")
        if self.kind == WAVEFORM and not self.rows == self.window_samples == self.hop_samples:
            raise ValueError("a waveform has as many rows as its columns have samples, and each sample once")
        _require_positive(self, "sample_rate_hz", "window_samples", "fft_samples", "hop_samples", "bins_per_row")
        _require_positive(self, "rows", "columns", "power_floor", "log_scale")
        if not 0 <= self.first_bin <= self.fft_samples // 2 + 1 - self.rows * self.bins_per_row:
            raise ValueError(f"{self.rows} rows of {self.bins_per_row} bins from bin {self.first_bin} exceed the FFT")

    @property
    def clip_samples(self) -> int:
        """Samples that the window of one frame spans."""
        return (self.columns - 1) * self.hop_samples + self.window_samples

    @property
    def clip_seconds(self) -> float:
        """Seconds that the window of one frame spans."""
        return self.clip_samples / self.sample_rate_hz

    @property
    def columns_per_second(self) -> float:
        """Columns in one second of a running spectrogram."""
        return self.sample_rate_hz / self.hop_samples

    def first_column_at(self, time_seconds: float) -> int:
        """First column of the window centred on ``time_seconds``, on the track's column grid (may be negative)."""
        first_sample = time_seconds * self.sample_rate_hz - self.clip_samples / 2
        return round(first_sample / self.hop_samples)


@dataclass(frozen=True, kw_only=True)
class RunningGrid:
    """How an audio tower runs over a track, in place of being shown one window after the other.

    Attributes:
        stride_columns: from one window whose embedding it gives to the next.
        context_columns: of the track to both sides of a window that have a say in its embedding; a multiple of the
            stride.
    """

    stride_columns: int
    context_columns: int

    def __post_init__(self) -> None:
        _require_positive(self, "stride_columns", "context_columns")
        if self.context_columns % self.stride_columns:
            raise ValueError(f"a context of {self.context_columns} is no multiple of {self.stride_columns}")

    def to_json(self) -> str:
        """As metadata hold it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, *, origin: str | Path) -> RunningGrid:
        """Read it back; ``origin`` names the file in the message.

        Raises:
            AvolError: the text is something else.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("it is not a JSON object")
            return _build(cls, values)
        except (ValueError, RecursionError) as error:
            raise AvolError(f"{origin}: {RUNNING_KEY} is wrong: {error}; run avol export again.") from None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Platt scaling of the logit, the same for every cell: ``p = sigmoid(scale * logit + bias)``."""

    scale: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model takes and gives, and where it comes from.

    Attributes:
        name: the model's name, e.g. ``avol-128-half-width``.
        system: the family that decides how frames and sound meet, e.g. ``avol-net``.
        preset: the registry entry of :mod:`avol.train.network` that rebuilds the network.
        frame_height, frame_width: pixels of the uint8 RGB input, ``N x H x W x 3``.
        grid_height, grid_width: cells of the localisation map.
        embedding_size: length of the vectors that both towers give.
        spectrogram: how sound becomes the audio tower's input.
        threshold: calibrated score from which a frame counts as sounding.
        calibration: Platt scaling, already part of the exported head.
        weights_sha256: hash of the checkpoint's weights, from which all graphs were made; empty while training.
        training: what it was trained on, free text by key.
        versions: of the libraries that made it.
    """

    name: str
    system: str
    preset: str
    frame_height: int
    frame_width: int
    grid_height: int
    grid_width: int
    embedding_size: int
    spectrogram: SpectrogramSpec
    threshold: float = 0.5
    calibration: Calibration = field(default_factory=Calibration)
    weights_sha256: str = ""
    training: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT

    def __post_init__(self) -> None:
        _require_positive(self, "frame_height", "frame_width", "grid_height", "grid_width", "embedding_size")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}, allowed is 0..1")

    def differences(self, other: ModelSpec) -> list[str]:
        """Names of the fields in which two specs differ, e.g. ``threshold`` or ``spectrogram.rows``."""
        mine, others = _flat(dataclasses.asdict(self)), _flat(dataclasses.asdict(other))
        return sorted(name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name))

    def to_json(self, *, indent: int | None = None) -> str:
        """The spec as JSON text with sorted keys, so that equal specs are equal texts."""
        values = dataclasses.asdict(self)
        if values["spectrogram"]["kind"] == LOG_POWER:  # what files said before there was another
            del values["spectrogram"]["kind"]
        return json.dumps(values, indent=indent, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, origin: str | Path) -> ModelSpec:
        """Read a spec back; ``origin`` names the file in the message.

        Raises:
            AvolError: the text is not a spec of this format.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("it is not a JSON object")
            if values.get("format") != FORMAT:
                raise ValueError(f"its format is {values.get('format')!r}, this version of avol reads {FORMAT!r}")
            if isinstance(values.get("spectrogram"), dict):
                values["spectrogram"].setdefault("kind", LOG_POWER)
            values["spectrogram"] = _build(SpectrogramSpec, values.get("spectrogram"))
            values["calibration"] = _build(Calibration, values.get("calibration"))
            return _build(cls, values)
        except (ValueError, RecursionError) as error:
            raise AvolError(f"{origin}: not a usable model spec: {error}; run avol export again.") from None


def _build(cls: type[T], values: Any) -> T:  # noqa: ANN401 (JSON)
    """Make a dataclass from a JSON object, checking names and types."""
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} is missing")
    names = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown, missing = values.keys() - names.keys(), names.keys() - values.keys()
    if unknown or missing:
        raise ValueError(f"{cls.__name__} lacks {sorted(missing)} and has unknown {sorted(unknown)}")
    for name, value in values.items():
        # Annotations are text in this module; the parts of a spec have been built before it.
        matches = _IS_OF_TYPE.get(str(names[name].type))
        if matches is not None and not matches(value):
            raise ValueError(f"{cls.__name__}.{name} is {value!r}, expected {names[name].type}")
    return cls(**values)


_IS_OF_TYPE: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in {int, float} and math.isfinite(value),
    "str": lambda value: isinstance(value, str),
    "dict[str, str]": lambda value: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
}


def _require_positive(spec: object, *names: str) -> None:
    for name in names:
        if not getattr(spec, name) > 0:
            raise ValueError(f"{name} is {getattr(spec, name)}, expected more than 0")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
