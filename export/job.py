"""A whole export: graphs in every precision that is asked for, each judged against the network before it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from avol.export.calibrate import DEFAULT_METHOD, choose_ranges, watch
from avol.export.compare import Check, Comparison, Outputs, compare, judge, run_system
from avol.export.moments import CALIBRATION_SCENES, JUDGING_SCENES, Moments, load_moments, synthetic_moments
from avol.export.onnx_files import (
    build_models,
    exported_spec,
    file_name,
    graph_file_name,
    refuse_strangers,
    write_files,
)
from avol.export.ranges import RANGES_FILE, Ranges, read_ranges
from avol.export.systems import GraphSystem, TorchSystem
from avol.export.verify import require_equal
from avol.runtime.backends.contract import TENSORS
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import PRECISIONS
from avol.runtime.spec import GRAPH_KEY, ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.network import TwoTowerNetwork

GATE_KEY = "avol.gate"  # in the metadata of reduced graphs: how they were judged
CALIBRATION_FRAMES = 512
Report = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """How a reduced precision was judged; ``written`` is False where it failed and was not forced."""

    precision: str
    found: Comparison
    checks: list[Check]
    written: bool

    @property
    def failures(self) -> str:
        """What failed, in words; empty if nothing did."""
        return "; ".join(f"{c.name} {c.value}, wanted {c.limit}" for c in self.checks if not c.passed)

    def __str__(self) -> str:
        state = "failed: " + self.failures if self.failures else "passed"
        return f"{state} (n={self.found.sounding} frames above the threshold of {self.found.count})"


@dataclass
class Exported:
    """What an export wrote.

    Attributes:
        spec: of the model.
        network: in torch.
        models: the graphs by file name.
        files: all that was written.
        judged_on: the frames and sounds.
        verdicts: of the reduced precisions.
    """

    spec: ModelSpec
    network: TwoTowerNetwork
    models: dict[str, onnx.ModelProto]
    files: list[Path]
    judged_on: Moments
    verdicts: list[Verdict] = field(default_factory=list)


def export_model(
    checkpoint: Path,
    out: Path,
    *,
    precisions: tuple[str, ...] | None = None,
    calibration: Path | None = None,
    method: str = DEFAULT_METHOD,
    force: bool = False,
    report: Report,
) -> Exported:
    """Write a model folder.

    Args:
        checkpoint: made by ``avol train``.
        out: folder, made if missing.
        precisions: ``fp32`` is always among them: spectrogram and head are float32 in every precision, and the others
            are measured against it. None: all, ``int8`` only where there are calibration ranges.
        calibration: clips to calibrate and judge on; None: the ranges beside the checkpoint, synthetic scenes to judge.
        method: of calibration.
        force: write what failed its tolerances.
        report: is given lines for the user.

    Raises:
        AvolError: no usable checkpoint, no calibration where ``int8`` was asked for, float32 graphs that differ from
            the network, or nothing can be written there.
    """
    network = load_checkpoint(checkpoint)
    spec = exported_spec(network)
    planned = planned_precisions(checkpoint, precisions, calibration)
    refuse_strangers(out, {graph_file_name(role, name) for role in TENSORS for name in planned}, spec)
    wanted = precisions or PRECISIONS
    ranges = None
    if "int8" in wanted:
        ranges = _find_ranges(network, checkpoint, calibration, method, report, is_asked_for=precisions is not None)
        wanted = tuple(name for name in wanted if name != "int8" or ranges is not None)
    moments = judging_moments(spec, calibration)
    report(f"judging on {moments.description}")
    reference = run_system(TorchSystem(network, "torch"), moments)
    models = {file_name(model): model for model in build_models(network, spec)}
    require_equal(network, {_role(model): model.SerializeToString() for model in models.values()})
    verdicts = []
    for precision in (name for name in PRECISIONS[1:] if name in wanted):
        reduced = build_models(network, spec, precision=precision, ranges=ranges)
        verdict = _judge(models, reduced, spec, precision, moments, reference, force=force)
        verdicts.append(verdict)
        if verdict.written:
            for model in reduced:
                item = model.metadata_props.add()
                item.key, item.value = GATE_KEY, str(verdict)
                models[file_name(model)] = model
    contents = {name: model.SerializeToString() for name, model in models.items()}
    if ranges is not None and any(v.written for v in verdicts if v.precision == "int8"):
        contents[RANGES_FILE] = ranges.to_json().encode()
    files = write_files(out, contents, spec)
    return Exported(spec, network, models, files, moments, verdicts)


def planned_precisions(
    checkpoint: Path, precisions: tuple[str, ...] | None, calibration: Path | None
) -> tuple[str, ...]:
    """What an export is going to write if it passes; the arguments are those of :func:`export_model`."""
    if precisions is not None:
        return tuple(dict.fromkeys(("fp32", *precisions)))
    has_ranges = calibration is not None or (checkpoint.parent / RANGES_FILE).exists()
    return tuple(name for name in PRECISIONS if name != "int8" or has_ranges)


def calibrate(network: TwoTowerNetwork, data: Path | None, *, method: str, report: Report) -> Ranges:
    """Calibration ranges of a network.

    Args:
        network: trained.
        data: clips, of which the training part is used; None: synthetic scenes and the bundled video.
        method: see :mod:`avol.export.calibrate`.
        report: is given lines for the user.

    Raises:
        AvolError: nothing usable in ``data``.
    """
    if data is None:
        moments = synthetic_moments(network.spec, first_seed=CALIBRATION_SCENES)
        source = moments.description
    else:
        moments = load_moments(data, network.spec, part="train", limit=CALIBRATION_FRAMES)
        # No paths of this machine in a file that travels.
        source = moments.description.replace(f" of {data}", f" of {data.resolve().name}")
    report(f"calibrating on {moments.description}, {method}")
    return choose_ranges(network, watch(network, moments), method=method, source=source)


def judging_moments(spec: ModelSpec, data: Path | None) -> Moments:
    """What graphs are judged on: clips that were not calibrated on, or synthetic scenes where there is no data."""
    if data is None:
        return synthetic_moments(spec, first_seed=JUDGING_SCENES)
    return load_moments(data, spec, part="validation")


def _find_ranges(
    network: TwoTowerNetwork, checkpoint: Path, data: Path | None, method: str, report: Report, *, is_asked_for: bool
) -> Ranges | None:
    if data is not None:
        return calibrate(network, data, method=method, report=report)
    beside = checkpoint.parent / RANGES_FILE
    try:
        if not beside.exists():
            raise AvolError(
                f"{checkpoint}: int8 needs calibration: give --calibration DATA (videos, prepared pairs or labelled "
                "material), or leave int8 out of --precision."
            )
        ranges = read_ranges(beside, network.spec)
    except AvolError as error:
        if is_asked_for:
            raise
        report(f"no int8 graphs: {error}")
        return None
    report(f"calibration ranges of {beside}: {ranges.method}, {ranges.source}")
    return ranges


def _judge(
    models: dict[str, onnx.ModelProto],
    reduced: list[onnx.ModelProto],
    spec: ModelSpec,
    precision: str,
    moments: Moments,
    reference: Outputs,
    *,
    force: bool,
) -> Verdict:
    graphs: dict[str, Path | bytes] = {
        _role(model): model.SerializeToString()
        for model in [*models.values(), *reduced]  # later ones replace the float32 towers
        if _role(model) in {"spectrogram", "audio", "frame", "head"}
    }
    system = GraphSystem(graphs, spec=spec, precision=precision, name=precision)
    found = compare(reference, run_system(system, moments), threshold=spec.threshold)
    checks = judge(found, precision)
    return Verdict(precision, found, checks, written=force or all(check.passed for check in checks))


def _role(model: onnx.ModelProto) -> str:
    return next(str(item.value) for item in model.metadata_props if item.key == GRAPH_KEY)
