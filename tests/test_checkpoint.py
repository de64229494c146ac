"""Checkpoints: what is read back, and how anything else is refused."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avol.runtime.errors import AvolError
from avol.runtime.spec import SPEC_KEY, Calibration
from avol.train.checkpoint import load_checkpoint, read_checkpoint_spec, save_checkpoint
from avol.train.network import TwoTowerNetwork, build_network, preset_spec

PRESET = "avol-128-half-width"


@pytest.fixture(scope="module")
def network() -> TwoTowerNetwork:
    torch.manual_seed(0)
    network = build_network(preset_spec(PRESET))
    for module in network.modules():  # statistics that no fresh network has
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.fill_(1234)
    return network


@pytest.fixture
def checkpoint(network: TwoTowerNetwork, tmp_path: Path) -> Path:
    save_checkpoint(network, network.spec, tmp_path / "c.safetensors")
    return tmp_path / "c.safetensors"


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], None]) -> None:
    """Change tensors and metadata of a checkpoint in its file."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    state = load_file(path)
    change(state, metadata)
    save_file(state, path, metadata=metadata)


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(AvolError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_float32_comes_back_bit_for_bit(network: TwoTowerNetwork, tmp_path: Path) -> None:
    spec = replace(network.spec, threshold=0.4, calibration=Calibration(scale=2.0, bias=-1.0), training={"steps": "7"})
    stored = save_checkpoint(network, spec, tmp_path / "c.safetensors")
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert loaded.spec == stored == replace(spec, weights_sha256=stored.weights_sha256)
    assert len(stored.weights_sha256) == 64
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not any(module.training for module in loaded.modules())


def test_half_stores_rounded_weights_under_their_own_hash(network: TwoTowerNetwork, tmp_path: Path) -> None:
    full, half, again = (tmp_path / name for name in ("full", "half", "again"))
    full_spec = save_checkpoint(network, network.spec, full)
    half_spec = save_checkpoint(network, network.spec, half, half=True)
    loaded = load_checkpoint(half)
    for name, tensor in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor.half().float() if tensor.is_floating_point() else tensor), name
    assert half.stat().st_size < 0.51 * full.stat().st_size
    # The hash is of values, not of storage: rounded weights kept in float32 are the same model.
    assert half_spec.weights_sha256 != full_spec.weights_sha256
    assert save_checkpoint(loaded, network.spec, again).weights_sha256 == half_spec.weights_sha256


def test_hash_follows_weights_and_not_the_spec(network: TwoTowerNetwork, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    first = save_checkpoint(network, network.spec, path).weights_sha256
    assert save_checkpoint(network, replace(network.spec, name="other"), path).weights_sha256 == first
    changed = load_checkpoint(path)
    with torch.no_grad():
        changed.head.bias.add_(1e-6)
    assert save_checkpoint(changed, network.spec, path).weights_sha256 != first


def test_weights_too_large_for_half_are_refused(network: TwoTowerNetwork, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    changed = build_network(network.spec)
    with torch.no_grad():
        changed.head.scale.fill_(1e5)
    with pytest.raises(AvolError, match=r"head\.scale is too large for half precision"):
        save_checkpoint(changed, network.spec, path, half=True)
    assert list(tmp_path.iterdir()) == []
    save_checkpoint(changed, network.spec, path)
    assert load_checkpoint(path).head.scale.item() == 1e5


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_file_mode_follows_the_umask(network: TwoTowerNetwork, tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        save_checkpoint(network, network.spec, tmp_path / "c.safetensors")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "c.safetensors").stat().st_mode) == 0o666 & ~umask


def test_spec_is_read_without_the_weights(checkpoint: Path, network: TwoTowerNetwork) -> None:
    spec = read_checkpoint_spec(checkpoint)
    assert replace(spec, weights_sha256="") == network.spec


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.safetensors", "no such checkpoint")
    assert_refused(tmp_path, "no such checkpoint")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64, b"PK\x03\x04" + bytes(200)])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    assert_refused(path, "not a readable checkpoint")


@pytest.mark.parametrize("keep", [4, 100, 5_000, -1000, -1])
def test_truncated(checkpoint: Path, keep: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    assert_refused(checkpoint, "not a readable checkpoint")


def test_safetensors_of_someone_else(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert_refused(path, "without avol's spec")


def test_spec_that_is_not_one(checkpoint: Path) -> None:
    rewrite(checkpoint, lambda _, metadata: metadata.update({SPEC_KEY: "{}"}))
    assert_refused(checkpoint, "not a usable model spec")


def test_tampered_weights(checkpoint: Path) -> None:
    """One bit of one weight, as a bad disk or a patient editor leaves it."""
    data = bytearray(checkpoint.read_bytes())
    data[-1000] ^= 1
    checkpoint.write_bytes(bytes(data))
    assert_refused(checkpoint, "not those the spec was written with")


def test_unknown_preset(network: TwoTowerNetwork, checkpoint: Path) -> None:
    save_checkpoint(network, replace(network.spec, preset="avol-9000"), checkpoint)
    assert_refused(checkpoint, "avol-9000", "no such preset", PRESET)


def test_sizes_that_the_preset_does_not_have(network: TwoTowerNetwork, checkpoint: Path) -> None:
    save_checkpoint(network, replace(network.spec, frame_height=256), checkpoint)
    assert_refused(checkpoint, "frame_height", PRESET)


def test_weights_of_another_preset(network: TwoTowerNetwork, checkpoint: Path) -> None:
    save_checkpoint(network, replace(network.spec, preset="avol-128"), checkpoint)
    assert_refused(checkpoint, "do not fit preset avol-128")


@pytest.mark.parametrize("in_the_way", ["folder", "missing folder"])
def test_unwritable_target(network: TwoTowerNetwork, tmp_path: Path, in_the_way: str) -> None:
    path = tmp_path / "runs" / "c.safetensors"
    if in_the_way == "folder":
        path.mkdir(parents=True)
    with pytest.raises(AvolError) as caught:
        save_checkpoint(network, network.spec, path)
    assert str(path) in str(caught.value)
    assert [entry.name for entry in tmp_path.rglob("*")] == (["runs", path.name] if in_the_way == "folder" else [])


FULL_DISK = """
import resource, sys
from pathlib import Path
from avol.runtime.errors import AvolError
from avol.train.checkpoint import save_checkpoint
from avol.train.network import build_network, preset_spec
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
network = build_network(preset_spec("avol-128-half-width"))
try:
    save_checkpoint(network, network.spec, Path(sys.argv[1]))
except AvolError as error:
    print(error)
"""


def test_full_disk_leaves_the_last_checkpoint(checkpoint: Path) -> None:
    """A limit on file sizes stands in for the full disk."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    before = checkpoint.read_bytes()
    command = [sys.executable, "-c", FULL_DISK, str(checkpoint)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.count("\n") == 1
    assert result.stdout.startswith(f"{checkpoint}: cannot be written")
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
