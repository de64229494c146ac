"""Checkpoints: safetensors with the spec in the metadata, written atomically."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.runtime.spec import SPEC_KEY, ModelSpec
from avol.train.network import TwoTowerNetwork, build_network


def save_checkpoint(network: TwoTowerNetwork, spec: ModelSpec, path: Path, *, half: bool = False) -> ModelSpec:
    """Write weights and spec; ``half`` stores the weights as float16, which is what is shipped.

    Returns:
        The spec as stored: with the hash of the weights as a reader will see them.

    Raises:
        AvolError: ``path`` cannot be written (what was there stays), or a weight is too large for half precision.
    """
    state = _weights_of(network)
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        if large := [name for name, tensor in state.items() if tensor.isinf().any()]:
            raise AvolError(f"{path}: {large[0]} is too large for half precision; train the model again.")
    spec = replace(spec, weights_sha256=_hash_weights(state))
    with AtomicOutput(path) as output:
        try:
            # Not safetensors' save_file: it makes files that only their owner can read, whatever the umask.
            output.temporary.write_bytes(save(state, metadata={SPEC_KEY: spec.to_json()}))
        except OSError as error:
            raise write_error(path, error) from None
        output.commit()
    return spec


def holds_weights_of(path: Path, network: TwoTowerNetwork) -> bool:
    """Whether a readable checkpoint with a network's very weights is there, whatever else its spec says."""
    try:
        return read_checkpoint_spec(path).weights_sha256 == _hash_weights(_weights_of(network))
    except AvolError:
        return False


def _weights_of(network: TwoTowerNetwork) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def read_checkpoint_spec(path: Path) -> ModelSpec:
    """The spec of a checkpoint, without its weights.

    Raises:
        AvolError: there is no such file, or it is not a checkpoint of avol.
    """
    # os.path never raises: a name may be too long for the file system.
    if not os.path.isfile(path):  # noqa: PTH113
        raise AvolError(f"{path}: no such checkpoint; name a .safetensors file that avol train wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise AvolError(f"{path}: not a readable checkpoint ({error}); train or copy it again.") from None
    if SPEC_KEY not in metadata:
        raise AvolError(f"{path}: a safetensors file without avol's spec; name a checkpoint that avol train wrote.")
    return ModelSpec.from_json(metadata[SPEC_KEY], origin=path)


def load_checkpoint(path: Path) -> TwoTowerNetwork:
    """The network of a checkpoint in float32, in evaluation mode; ``network.spec`` is the stored spec.

    Raises:
        AvolError: no readable checkpoint, or weights that do not fit the preset that its spec names.
    """
    spec = read_checkpoint_spec(path)
    try:
        network = build_network(spec)
    except AvolError as error:
        raise AvolError(f"{path}: {error}") from None
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if _hash_weights(state) != spec.weights_sha256:
        raise AvolError(f"{path}: the weights are not those the spec was written with; copy the checkpoint again.")
    try:
        network.load_state_dict({name: _float32(tensor) for name, tensor in state.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise AvolError(f"{path}: the weights do not fit preset {spec.preset} ({reason}); train it again.") from None
    return network.eval()


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _hash_weights(state: dict[str, Tensor]) -> str:
    """SHA-256 over names and float32 values in order of name: the same in half-precision and float32 storage."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(_float32(state[name]).float().numpy().tobytes())
    return digest.hexdigest()
