"""Networks. :data:`PRESETS` names every network that can be trained; :func:`build_network` makes one."""

from avol.train.network.presets import PRESETS, build_network, preset_spec
from avol.train.network.two_towers import TwoTowerNetwork

__all__ = ["PRESETS", "TwoTowerNetwork", "build_network", "preset_spec"]
