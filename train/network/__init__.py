"""Networks. :data:`PRESETS` names every network that can be trained; :func:`build_network` makes one."""

from avol.train.network.avol_net import AvolNet
from avol.train.network.presets import PRESETS, build_network, preset_spec

__all__ = ["PRESETS", "AvolNet", "build_network", "preset_spec"]
