"""Synthetic scenes: drawn sounding objects, synthesised sounds, exact boxes, all from a seed."""

from avol.train.scenes.scene import KINDS, SyntheticScene
from avol.train.scenes.staging import Placement, Turn

__all__ = ["KINDS", "Placement", "SyntheticScene", "Turn"]
