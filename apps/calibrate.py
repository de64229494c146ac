"""``avol calibrate``: make the score a probability, and choose from where on a frame counts as sounding."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  avol calibrate mine pairs                         on the validation part that avol data prepare kept back
  avol calibrate mine ../shared/data --dry-run      the report alone
  avol calibrate mine pairs --false-alarms 0.05     sounding for one foreign sound in twenty at most
"""
PARTS = ("validation", "train")  # never test: what is tuned on it cannot be measured on it
REPORT_FILE, FIGURE_FILE = "calibration.json", "reliability.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol calibrate``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", type=Path, help="folder of an exported model or a run, or a .safetensors checkpoint")
    parser.add_argument(
        "data", type=Path, nargs="+", help="a folder of avol data prepare, or labelled ones as avol eval reads them"
    )
    parser.add_argument("--part", choices=PARTS, default="validation", help="of the data (default: %(default)s)")
    parser.add_argument(
        "--method", choices=("platt", "temperature"), default="platt",
        help="scale and bias, or scale alone (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--false-alarms", type=float, metavar="SHARE",
        help="largest share of foreign sounds that count as sounding (default: as few mistakes of both kinds)",
    )  # fmt: skip
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="folder for the report (default: out/NAME-calibration)"
    )
    parser.add_argument("--dry-run", action="store_true", help="write the report, leave the model as it is")


def run(arguments: argparse.Namespace) -> int:
    """Fit, report, and write into the model; gives the exit code."""
    import contextlib
    import json

    from avol.export.recalibrate import engines_of, recalibrate
    from avol.runtime.atomic import AtomicOutput, commit_all, write_error
    from avol.train.calibration import describe, fit, score_pairs
    from avol.train.figures.reliability import draw_reliability
    from avol.train.figures.style import save_figure
    from avol.train.protocols.model import open_model

    if arguments.false_alarms is not None and not 0 <= arguments.false_alarms <= 1:
        raise argparse.ArgumentError(None, "--false-alarms must be 0 to 1")
    model = open_model(arguments.model)
    spec = model.spec
    pairs = score_pairs(model, arguments.data, part=arguments.part)
    fitted = fit(pairs, method=arguments.method, false_alarms=arguments.false_alarms)
    record = describe(pairs, spec, fitted, method=arguments.method) | {
        "part": arguments.part,
        "data": [str(folder) for folder in arguments.data],
        "false_alarms": arguments.false_alarms,
    }
    folder: Path = arguments.report or Path("out") / f"{spec.name}-calibration"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(AtomicOutput(folder / REPORT_FILE))
        figure = stack.enter_context(AtomicOutput(folder / FIGURE_FILE))
        try:
            report.temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise write_error(report.path, error) from None
        save_figure(draw_reliability(record), figure)
        if arguments.dry_run:
            commit_all(report, figure)
        else:
            kinds = ", ".join(f"{count} of {kind}" for kind, count in pairs.kinds.items())
            note = f"{arguments.method} on the {arguments.part} part: true and false pairs, {kinds}"
            written = recalibrate(
                arguments.model, fitted.calibration, fitted.threshold, note=note, beside=(report, figure)
            )
    _print(record, folder)
    if not arguments.dry_run:
        print(f"{arguments.model}: calibration and threshold written into {len(written)} files")
        for engine in engines_of(arguments.model):
            print(f"{engine}: holds the former calibration and will be refused; build it again.")
    return 0


def _print(record: dict[str, Any], folder: Path) -> None:
    kinds = ", ".join(f"{count} of {kind}" for kind, count in record["questions"].items())
    print(
        f"{record['model']['name']}, {record['part']} part: {kinds}, of {record['sources']} photographs and videos, "
        "each with its own and a foreign sound"
    )
    print(f"{'':<38}{'as it was':>12}{'calibrated':>12}")
    rows = {
        "scale": "scale",
        "bias": "bias",
        "threshold": "threshold",
        "expected calibration error": "expected_calibration_error",
        "cross-entropy": "cross_entropy",
    }
    before, after = record["before"], record["after"]
    for name, key in rows.items():
        print(f"  {name:<36}{before[key]:>12.4f}{after[key]:>12.4f}")
    for name in ("own", "foreign"):
        shares = (stage[f"sounding_with_{name}_sound"]["value"] for stage in (before, after))
        print(f"  {f'sounding with {name} sound':<36}" + "".join(f"{100 * share:>10.1f} %" for share in shares))
    if after["sounding_with_silence"] is not None:
        shares = (stage["sounding_with_silence"] for stage in (before, after))
        print(f"  {'sounding with silence':<36}" + "".join(f"{100 * share:>10.1f} %" for share in shares))
    if record["cross_fitted"] is not None:
        error = record["cross_fitted"]["expected_calibration_error"]
        print(f"  {'calibration error, cross-fitted':<36}{error:>24.4f}")
    print(f"report: {folder / REPORT_FILE} and {folder / FIGURE_FILE}")
