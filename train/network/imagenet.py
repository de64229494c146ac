"""Weights of a ResNet-18 that was trained on ImageNet, from a local file, for towers of the same shape."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from avol.runtime.errors import AvolError
from avol.train.network.ez_vsl import GuidedFrameTower
from avol.train.network.towers import ResidualBlock
from avol.train.network.two_towers import TwoTowerNetwork

STEM = {"conv1": "0", "bn1": "1"}
BLOCK = {"conv1": "main.0", "bn1": "main.1", "conv2": "main.3", "bn2": "main.4"}
BLOCK |= {"downsample.0": "shortcut.0", "downsample.1": "shortcut.1"}
FIRST_BLOCK = 4  # of a residual tower, behind convolution, norm, ReLU and pooling


def load_imagenet(network: TwoTowerNetwork, path: Path) -> None:
    """Give the frame tower, and the image network of a guided one, the weights of a file.

    Args:
        network: with residual towers.
        path: ``.pth`` or ``.safetensors`` with torchvision's names (``layer1.0.conv1.weight``); what belongs to the
            classifier is not read.

    Raises:
        AvolError: the network has no such tower, the file cannot be read, or its weights are of another shape.
    """
    tower = network.frame_tower
    if not any(isinstance(layer, ResidualBlock) for layer in tower.convs):
        raise AvolError(f"{path}: preset {network.spec.preset} has no ResNet; leave the weights out, or train ez-vsl.")
    blocks = sum(isinstance(layer, ResidualBlock) for layer in tower.convs) // 4
    state = {_own_name(name, blocks): value for name, value in _read(path).items() if not name.startswith("fc.")}
    towers: list[nn.Module] = [tower.convs]
    if isinstance(tower, GuidedFrameTower):
        towers.append(tower.objects)
    for part in towers:
        try:
            part.load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise AvolError(
                f"{path}: not the weights of a ResNet of preset {network.spec.preset} ({reason}); name those of "
                "torchvision's resnet18."
            ) from None


def sha256_of(path: Path) -> str:
    """Of the file, for the record of what was trained.

    Raises:
        AvolError: there is no such file.
    """
    if not path.is_file():
        raise AvolError(f"{path}: no such file; name the weights of torchvision's resnet18.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_name(name: str, blocks_per_stage: int) -> str:
    """``layer2.0.conv1.weight`` to ``6.main.0.weight``; what is not known stays as it is, and is refused."""
    if found := re.fullmatch(r"layer([1-4])\.(\d+)\.(conv[12]|bn[12]|downsample\.[01])\.(\w+)", name):
        stage, block, part, kind = found.groups()
        return f"{FIRST_BLOCK + (int(stage) - 1) * blocks_per_stage + int(block)}.{BLOCK[part]}.{kind}"
    if found := re.fullmatch(r"(conv1|bn1)\.(\w+)", name):
        return f"{STEM[found[1]]}.{found[2]}"
    return name


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AvolError(f"{path}: no such file; name the weights of torchvision's resnet18.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:  # torch and safetensors raise by kind of damage
        raise AvolError(f"{path}: not a readable file of weights; download it again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise AvolError(f"{path}: not a table of weights; name the weights of torchvision's resnet18.")
    return state
