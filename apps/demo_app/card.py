"""The model card: what runs here, on what, and how good it is."""

from __future__ import annotations

import re

from avol.runtime.backends.backend import Backend
from avol.runtime.system import SYSTEMS_WITHOUT_MAP

CARD_FILE = "MODEL_CARD.md"  # beside the graphs of a model


def model_card(backend: Backend) -> str:
    """What there is to know of the model, as Markdown: the facts of its spec, then the card in its folder if any."""
    spec = backend.spec
    sound = spec.spectrogram
    cells = f"{spec.grid_width} by {spec.grid_height} cells"
    rows = {
        "Model": f"`{spec.name}` ({spec.system})",
        "Weights": f"`{spec.weights_sha256[:16]}…` (SHA-256)",
        "Backend": f"{backend.name}, {backend.precision}, on {backend.device} ({backend.provider})",
        "Picture": f"{spec.frame_width} by {spec.frame_height} pixels",
        "Sound": f"{sound.clip_seconds:.3f} s at {sound.sample_rate_hz / 1000:g} kHz, mono",
        "Map": "none: tells whether, not where" if spec.system in SYSTEMS_WITHOUT_MAP else cells,
        "Threshold": f"{spec.threshold:g}",
    }
    table = ["| What runs here | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    path = backend.folder / CARD_FILE
    card = path.read_text(encoding="utf-8") if path.is_file() else "This model's folder holds no model card."
    return "\n".join([*table, "", _without_relative_links(card)])


def _without_relative_links(markdown: str) -> str:
    """Links to files that a browser cannot reach become their words; pictures among them leave."""
    markdown = re.sub(r"!\[[^\]]*\]\((?!https:)[^)]*\)", "", markdown)
    return re.sub(r"\[([^\]]*)\]\((?!https:|#)[^)]*\)", r"\1", markdown)
