"""Average the weights of a run and of the run that it went on from: what they share is what holds on new material.

    python reports/third-model/average.py runs/second/checkpoint.safetensors runs/third/checkpoint.safetensors \
        third.safetensors --share 0.6

Source: Wortsman et al., *Model soups*, ICML 2022, section 2. Means and variances of the batch norms are averaged, too.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from avol.train.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    """Average two checkpoints of one preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.6, help="of the second one")
    arguments = parser.parse_args()
    first, second = load_checkpoint(arguments.first), load_checkpoint(arguments.second)
    weights, others = second.state_dict(), first.state_dict()
    for name, values in weights.items():
        if values.is_floating_point():
            weights[name] = arguments.share * values + (1 - arguments.share) * others[name]
    second.load_state_dict(weights)
    training = {
        "recipe": "reports/third-model",
        "steps": f"{first.spec.training['steps']} + {second.spec.training['steps']}",
    }
    spec = replace(second.spec, training=second.spec.training | training)
    save_checkpoint(second, spec, arguments.out)


if __name__ == "__main__":
    main()
