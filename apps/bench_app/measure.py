"""A whole benchmark: every configuration at every batch size, in one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avol.apps.bench_app.columns import measure_columns
from avol.apps.bench_app.configurations import Choice, Configuration
from avol.apps.bench_app.environment import environment_record
from avol.apps.bench_app.nvml import Nvml, open_nvml
from avol.apps.bench_app.power import PowerFiles, ProcessorEnergy, power_record
from avol.apps.bench_app.quality import recorded_quality
from avol.apps.bench_app.roofline import MachineRates, best_of, bound_seconds, measure_rates
from avol.apps.bench_app.scenarios import NOTE, STREAMS, Pairs, make_pairs, multi_stream, offline, single_stream
from avol.apps.bench_app.timing import Clock, Effort
from avol.apps.bench_app.whole_run import measure_start_up, measure_whole_run
from avol.runtime.backends import open_backend
from avol.runtime.backends.backend import PAIR_ROLES, Backend
from avol.runtime.backends.layers import Layer, graph_note, model_layers
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import read_spec

FORMAT = "avol.bench/1"
GATE_KEY = "avol.gate"  # under which avol export notes how it judged a reduced precision
# Least calls of each measurement, however long they take: below them a high percentile is the slowest call.
LEAST_RUNS = {"single_stream": 100, "multi_stream": 100, "columns": 100, "offline": 8}
RATE_SECONDS = 1.0  # at most, for each rate of the machine


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is measured, and for how long.

    Attributes:
        model: folder.
        video: for the whole run.
        batches: sizes.
        seconds: of each measurement, at least.
        clock: seconds.
    """

    model: Path
    video: Path
    batches: Sequence[int]
    seconds: float
    clock: Clock

    def effort(self, measurement: str) -> Effort:
        """Of one measurement, of :data:`LEAST_RUNS`."""
        return Effort(seconds=self.seconds, runs=LEAST_RUNS[measurement], clock=self.clock)


@dataclass
class _Meters:
    """What reads the machine, opened once."""

    files: PowerFiles = field(default_factory=PowerFiles)
    nvml: Nvml | None = field(default_factory=open_nvml)

    def __post_init__(self) -> None:
        self.processor = ProcessorEnergy(self.files)

    def joules(self, *, on_device: bool) -> float | None:
        """Of the GPU alone, or of the processor packages."""
        if on_device:
            return None if self.nvml is None else self.nvml.joules()
        return self.processor.joules()


def measure(options: BenchOptions, choice: Choice, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything that was chosen.

    Args:
        options: what and for how long.
        choice: the configurations; they open.
        say: told what is being measured.

    Returns:
        The report but for its first keys; docs/measuring.md describes it.

    Raises:
        AvolError: model or video cannot be used.
    """
    environment = environment_record()  # before this process makes the machine busy
    spec, meters = read_spec(options.model), _Meters()
    pairs = make_pairs(spec, max((*options.batches, STREAMS)))
    rates = _machine_rates(options, choice, say)
    bounds: list[tuple[dict[str, Any], _Layers]] = []
    rows: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    for configuration in choice.chosen:
        told = f"{configuration.device} {configuration.precision}"
        say(f"{told}: whole run")  # first: what is wrong with the video shows here
        run = measure_whole_run(options.model, options.video, configuration)
        say(f"{told}: start-up")
        start_up = measure_start_up(options.model, options.video, configuration)
        with open_backend(options.model, configuration.device, configuration.precision) as backend:
            runs.append({"backend": backend.name, "precision": backend.precision, **run, "start_up": start_up})
            found = _Bench(options, backend, pairs, meters, told, say).rows()
        layers = _layers(options.model, configuration)
        bounds += [(row, layers) for row in found]
        rows += found
    # Once more: another program that was busy the first time must not make the model look better than the machine.
    rates = {place: best_of(rates[place], again) for place, again in _machine_rates(options, choice, say).items()}
    for row, layers in bounds:
        row["roofline"] = layers.roofline(row, rates)
    return {
        "note": NOTE,
        "model": {"name": spec.name, "sha256": spec.weights_sha256, "system": spec.system, "preset": spec.preset},
        "environment": environment,
        "machine_rates": {place: found.record() for place, found in rates.items()},
        "rows": rows,
        "runs": runs,
        "not_measured": choice.passed_over,
    }


def _machine_rates(options: BenchOptions, choice: Choice, say: Callable[[str], None]) -> dict[str, MachineRates]:
    """By place, ``cpu`` or ``gpu``."""
    found = {}
    for place in sorted({_place(configuration) for configuration in choice.chosen}):
        say("what the machine multiplies and moves")
        precisions = [c.precision for c in choice.chosen if _place(c) == place]
        wanted = list(dict.fromkeys(["fp32", *precisions]))
        found[place] = measure_rates(place == "gpu", wanted, min(RATE_SECONDS, options.seconds))
    return found


def _place(configuration: Configuration) -> str:
    return "cpu" if configuration.device == "cpu" else "gpu"


@dataclass(frozen=True)
class _Layers:
    """The layers of a model in one precision, None if they are not known, and why they are not."""

    place: str
    layers: list[Layer] | None
    note: str | None

    def roofline(self, row: dict[str, Any], rates: dict[str, MachineRates]) -> dict[str, Any]:
        """The bound of a row's batch, and what share of it its offline throughput reaches."""
        batch, pairs_per_second = row["batch"], row["scenarios"]["offline"]["pairs_per_second"]
        bound = None if self.layers is None else bound_seconds(self.layers, batch, rates[self.place])
        return {
            "operations_per_pair": None if self.layers is None else sum(layer.operations for layer in self.layers),
            "weights": None if self.layers is None else sum(layer.weights for layer in self.layers),
            "bound_milliseconds": None if bound is None else round(1e3 * bound, 4),
            "share": None if bound is None else round(bound * pairs_per_second / batch, 4),
            "note": self.note,
        }


def _layers(model: Path, configuration: Configuration) -> _Layers:
    place, spec = _place(configuration), read_spec(model)
    try:
        return _Layers(place, model_layers(model, spec, configuration.precision, PAIR_ROLES), None)
    except AvolError as error:  # a folder may hold engines without the graphs they were built from
        return _Layers(place, None, str(error))


@dataclass
class _Bench:
    """One open backend under test."""

    options: BenchOptions
    backend: Backend
    pairs: Pairs
    meters: _Meters
    told: str
    say: Callable[[str], None]

    def rows(self) -> list[dict[str, Any]]:
        """A row for every batch size."""
        backend, options = self.backend, self.options
        self.say(f"{self.told}: single stream")
        single = single_stream(self._infer, options.effort("single_stream"))
        streams: dict[int, dict[str, Any]] = {}
        rows = []
        for batch in options.batches:
            in_a_call = min(batch, STREAMS)
            if in_a_call not in streams:
                self.say(f"{self.told}: multi-stream, batch {batch}")
                streams[in_a_call] = multi_stream(self._infer, in_a_call, options.effort("multi_stream"))
            self.say(f"{self.told}: offline, batch {batch}")
            found = offline(self._infer, batch, options.effort("offline"), self._joules)
            power = power_record(self.meters.files, self.meters.nvml)  # while it is still warm
            self.say(f"{self.told}: columns, batch {batch}")
            rows.append(
                {
                    "backend": backend.name,
                    "device": backend.device,
                    "provider": backend.provider,
                    "precision": backend.precision,
                    "batch": batch,
                    "scenarios": {"single_stream": single, "multi_stream": streams[in_a_call], "offline": found},
                    **measure_columns(backend, self.pairs, batch, options.effort("columns")),
                    "phases_note": backend.phases_note or None,
                    "power": power,
                    **self._of_the_model(),
                }
            )
        return rows

    def _infer(self, number: int, count: int) -> None:
        self.backend.localise_samples(*self.pairs.part(number, count))

    def _joules(self) -> float | None:
        return self.meters.joules(on_device=self.backend.on_device)

    def _of_the_model(self) -> dict[str, Any]:
        backend = self.backend
        paths = [path for path in backend.files() if path.is_file()]
        return {
            "model_bytes": sum(path.stat().st_size for path in paths),
            "quality": recorded_quality(backend.folder, backend.spec, backend.precision),
            "export_gate": _gate(backend),
        }


def _gate(backend: Backend) -> str | None:
    """How the exporter judged the precision; None: it did not, or cannot be asked."""
    try:
        return graph_note(backend.folder, backend.spec, backend.precision, "frame", GATE_KEY)
    except AvolError:  # no ONNX Runtime beside TensorRT
        return None
