"""Which calibration loses least: every method of ``avol.export.calibrate``, judged on clips that it has not seen.

    python benchmarks/int8_calibration.py [CHECKPOINT] --data ../shared/data [--out FILE.json]

Calibrates on the train part, judges on the validation part (the test part is not touched), and on synthetic scenes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from avol.export.calibrate import METHODS, choose_ranges, watch
from avol.export.compare import compare, judge, run_system
from avol.export.job import CALIBRATION_FRAMES
from avol.export.moments import JUDGING_SCENES, load_moments, synthetic_moments
from avol.export.onnx_files import build_models, exported_spec
from avol.export.systems import GraphSystem, TorchSystem
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.runtime.spec import GRAPH_KEY
from avol.train.checkpoint import load_checkpoint

DEFAULT_OUT = Path(__file__).parent / "results" / "int8-calibration.json"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=bundled_model_folder() / CHECKPOINT_FILE)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    arguments = parser.parse_args()
    network = load_checkpoint(arguments.checkpoint)
    spec = exported_spec(network)
    calibrated_on = load_moments(arguments.data, spec, part="train", limit=CALIBRATION_FRAMES)
    judged_on = {
        "clips": load_moments(arguments.data, spec, part="validation", limit=arguments.frames),
        "scenes": synthetic_moments(spec, first_seed=JUDGING_SCENES),
    }
    print(f"calibrating on {calibrated_on.description}", file=sys.stderr)
    histograms = watch(network, calibrated_on)
    torch_system = TorchSystem(network, "torch")
    references = {name: run_system(torch_system, moments) for name, moments in judged_on.items()}
    rest = {
        role(model): model.SerializeToString() for model in build_models(network, spec, roles=("spectrogram", "head"))
    }
    record: dict[str, object] = {
        "model": {"name": spec.name, "sha256": spec.weights_sha256},
        "calibrated_on": calibrated_on.description.replace(str(arguments.data), arguments.data.name),
        "judged_on": {
            name: moments.description.replace(str(arguments.data), arguments.data.name)
            for name, moments in judged_on.items()
        },
    }
    methods: dict[str, object] = {}
    for method in METHODS:
        ranges = choose_ranges(network, histograms, method=method, source="")
        towers = build_models(network, spec, precision="int8", ranges=ranges, roles=("audio", "frame"))
        graphs: dict[str, Path | bytes] = {**rest, **{role(model): model.SerializeToString() for model in towers}}
        system = GraphSystem(graphs, spec=spec, precision="int8", name=method)
        methods[method] = {}
        for name, moments in judged_on.items():
            found = compare(references[name], run_system(system, moments), threshold=spec.threshold)
            passed = all(check.passed for check in judge(found, "int8"))
            methods[method][name] = {**dataclasses.asdict(found), "passed": passed}  # type: ignore[index]
            print(
                f"{method:<18}{name:<8}n={found.sounding:<6}same peak {100 * found.same_peak:.2f} %  within one cell "
                f"{100 * found.near_peak:.2f} %  mean map difference {found.map_mean_difference:.5f}  "
                f"accuracy {found.accuracies}  {'passed' if passed else 'failed'}",
                flush=True,
            )
    record["methods"] = methods
    arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def role(model: object) -> str:
    """The role in a graph's metadata."""
    return next(item.value for item in model.metadata_props if item.key == GRAPH_KEY)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
