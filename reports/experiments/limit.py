"""What the frame tower costs: the guide, which sees with a network trained on ImageNet, asked the same questions.

    python reports/experiments/limit.py guide.pt --data ../shared/data

The guide is made by ``reports/second-model/train_guide.py``. Nothing is tuned here; the test part is only measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.material import load_together
from avol.train.evaluate import Evaluator
from avol.train.network import build_network, preset_spec

sys.path.insert(0, str(Path(__file__).parents[1] / "second-model"))
from common import PRESET, load_teacher
from train_guide import guide_head


def main() -> None:
    """Measure the guide on validation and test part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guide", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "limit.json")
    arguments = parser.parse_args()
    spec = preset_spec(PRESET)
    network, head = build_network(spec).eval(), guide_head().eval()
    state = torch.load(arguments.guide, weights_only=True)
    network.load_state_dict(state["network"])
    head.load_state_dict(state["head"])
    teacher = load_teacher("cpu")

    def localise(frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            grid = head(torch.from_numpy(teacher(frames)))
            vector = network.audio_tower(network.spectrogram(torch.from_numpy(samples)))
            return np.asarray(torch.sigmoid(network.head(grid, vector)).numpy())

    train = load_together([arguments.data], part="train", spec=spec)
    labels = BatchSource(train, None, spec, BatchPlan()).trained_labels
    found = {}
    for part in ("validation", "test"):
        material = load_together([arguments.data], part=part, spec=spec)
        results = Evaluator(material, spec, labels).everything(localise)
        found[part] = {name: asdict(figure) for name, figure in results.figures.items()}
        for name, figure in results.figures.items():
            print(part, name, figure, flush=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
