"""Step 2: compose pictures, and keep what the teacher and the guide say of them.

python reports/second-model/make_bank.py BANK --guide guide.pt --data ../shared/data
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from common import COMPONENTS, PRESET, Components, Pixels, load_teacher, load_train_part
from train_guide import guide_head

from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.network import preset_spec

PER_DRAW = 48
DRAWS_FOR_COMPONENTS = 16
SIDE, CELLS = 128, 8


def main() -> None:
    """Make the bank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--guide", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--pictures", type=int, default=52_800)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    spec = preset_spec(PRESET)
    plan = BatchPlan(photograph_labels=24, clip_only_labels=8, mosaic_share=0.25, quiet_sounds=0)
    source = BatchSource(load_train_part(arguments.data, spec), None, spec, plan)
    teacher, head = load_teacher(arguments.device), guide_head()
    head.load_state_dict(torch.load(arguments.guide, weights_only=True)["head"])
    head.eval()

    def draw(number: int) -> Pixels:
        return source.draw_pictures(np.random.default_rng([777, number]))[:PER_DRAW]

    draws = arguments.pictures // PER_DRAW
    first = np.concatenate([teacher(draw(draws + number)) for number in range(DRAWS_FOR_COMPONENTS)])
    components = Components.fitted(first)
    arguments.out.mkdir(parents=True, exist_ok=True)

    def store(name: str, dtype: type, *shape: int) -> np.ndarray:
        path = arguments.out / f"{name}.npy"
        return np.lib.format.open_memmap(path, "w+", dtype, (draws * PER_DRAW, *shape))

    frames = store("frames", np.uint8, SIDE, SIDE, 3)
    answers = store("components", np.float16, COMPONENTS, CELLS, CELLS)
    grids = store("grids", np.float16, spec.embedding_size, CELLS, CELLS)
    with ThreadPoolExecutor(1) as pool:
        for number, pictures in enumerate(pool.map(draw, range(draws))):
            rows = slice(number * PER_DRAW, (number + 1) * PER_DRAW)
            features = teacher(pictures)
            frames[rows], answers[rows] = pictures, components.of(features)
            with torch.no_grad():
                grids[rows] = head(torch.from_numpy(features)).numpy()
            if number % 50 == 0:
                print(f"{number} of {draws}", flush=True)


if __name__ == "__main__":
    main()
