"""AVOL-net: two convolutional towers whose scalar product over the frame's grid localises the sound.

Source: Arandjelović & Zisserman, *Objects that Sound*, ECCV 2018 (arXiv 1712.06651), section 4 and figure 2.
"""

from __future__ import annotations

from avol.runtime.spec import ModelSpec
from avol.train.network.heads import ScalarProductHead
from avol.train.network.towers import (
    FrameTower,
    conv_tower,
    frame_embedding,
    scaled_channels,
    vgg_audio_tower,
)
from avol.train.network.two_towers import TwoTowerNetwork


class AvolNet(TwoTowerNetwork):
    """Both towers are VGG-like; every cell of the grid meets the sound.

    Args:
        spec: sizes of inputs and grid.
        width: share of the full network's channels.
        convs_per_block: 2, or 1 for the half-depth network.
    """

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        channels, size = scaled_channels(width), spec.embedding_size
        super().__init__(
            spec,
            frame_tower=FrameTower(conv_tower(3, channels, convs_per_block), frame_embedding(channels[-1], size)),
            audio_tower=vgg_audio_tower(channels, convs_per_block, size),
            head=ScalarProductHead(),
        )
