"""Pictures or sounds: which of the two makes the test part harder? Held-out ones of both parts, crossed.

python reports/experiments/cross.py runtime/models/avol-128-half-width --data ../shared/data
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from avol.runtime.backends import open_backend
from avol.runtime.system import AvolNetSystem
from avol.train.data.material import Material, load_together
from avol.train.evaluate import Evaluator, Results

PARTS = ("validation", "test")


def main() -> None:
    """Measure class-level pairs of every combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "cross.json")
    arguments = parser.parse_args()
    found = {}
    with open_backend(arguments.model, "cpu", "fp32") as backend:
        system, spec = AvolNetSystem(backend), backend.spec
        labels = spec.training["classes"].split(", ")
        material = {part: load_together([arguments.data], part=part, spec=spec) for part in PARTS}
        common = [{sound.label for sound in material[part].sounds} for part in PARTS]
        for seen in PARTS:
            for heard in PARTS:
                photographs, sounds = material[seen].photographs, material[heard].sounds
                shared = common[0] & common[1]  # the same classes in all four
                mixed = Material(
                    photographs=photographs, sounds=[sound for sound in sounds if sound.label in shared], clips=[]
                )
                results = Results()
                Evaluator(mixed, spec, labels).composite_pairs(system.localise_samples, results)
                name = f"photographs of {seen}, sounds of {heard}"
                found[name] = {key: asdict(figure) for key, figure in results.figures.items()}
                print(name, *results.figures.values(), len({sound.file for sound in mixed.sounds}), flush=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
