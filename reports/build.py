"""Draw and write reports/README.md anew from the results that are committed: ``make report``.

Every figure and every number on that page comes from a file in this repository; nothing is measured here except the
gallery and the panels, for which the bundled model looks at synthetic scenes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gallery
import tables
from matplotlib.figure import Figure

from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.train.figures.curves import read_history
from avol.train.figures.history import draw_history
from avol.train.figures.models import open_localiser, open_network
from avol.train.figures.panels import draw_panels, synthetic_rows
from avol.train.figures.reliability import draw_reliability
from avol.train.figures.style import open_output, write_figure
from avol.train.figures.variants import draw_variants, read_variant
from avol.train.figures.weights import draw_weights

FOLDER = Path(__file__).parent
MODEL = FOLDER / "third-model"
EXPERIMENTS = FOLDER / "experiments" / "results"
FIGURES = FOLDER / "figures"


def main() -> int:
    """Write the figures and the page."""
    FIGURES.mkdir(exist_ok=True)
    parts = [tables.HEAD, tables.bundled_model(_read(MODEL / "test.json")), *_experiments(), *_model_figures()]
    parts += [
        tables.transfer(MODEL),
        tables.by_class(_read(MODEL / "test.json")),
        tables.systems(FOLDER / "systems"),
        tables.LIMITS,
    ]
    (FOLDER / "README.md").write_text("\n\n".join(part.strip() for part in parts if part) + "\n", encoding="utf-8")
    return 0


def _experiments() -> list[str]:
    """The report's figures 2 and 3: histories, and networks of three sizes."""
    run = read_history(MODEL / "finetune.jsonl")
    parts = [_figure("history", "How the bundled model learnt", lambda: draw_history([run]), tables.HISTORY)]
    found = {
        label: sorted(EXPERIMENTS.glob(f"variants-{label}-*/log.jsonl"))
        for label in ("full", "half-width", "half-depth")
    }
    if all(found.values()):
        names = [f"{label}={','.join(map(str, paths))}" for label, paths in found.items()]
        variants = [read_variant(name) for name in names]
        parts.append(
            _figure("variants", "Three sizes on 2,016 pairs", lambda: draw_variants(variants), tables.VARIANTS)
        )
    return parts


def _model_figures() -> list[str]:
    """Figures 4 to 6, whether scores mean what they say, and where the model fails."""
    folder = bundled_model_folder()
    network = open_network(folder / CHECKPOINT_FILE)
    spec, localise = open_localiser(folder)
    parts = [
        _figure("weights", "First-layer weights", lambda: draw_weights(network), tables.WEIGHTS),
        _figure("panels", "Localisation", lambda: draw_panels(synthetic_rows(spec), localise, spec), tables.PANELS),
    ]
    if (MODEL / "calibration.json").is_file():
        record = _read(MODEL / "calibration.json")
        parts.append(_figure("reliability", "Do scores mean what they say?", lambda: draw_reliability(record),
                             tables.reliability(record)))  # fmt: skip
    rows, counts = gallery.failures(spec, localise)
    parts.append(_figure("failures", "Where it fails, by class", lambda: draw_panels(rows, localise, spec),
                         tables.failures(counts)))  # fmt: skip
    return parts


def _figure(name: str, title: str, draw: Callable[[], Figure], text: str) -> str:
    sys.stderr.write(f"{name}\n")
    write_figure(draw(), open_output(FIGURES / f"{name}.png"))
    return f"## {title}\n\n![{title}](figures/{name}.png)\n\n{text}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    sys.exit(main())
