"""AVE-Net: learns, is exported, is what was trained, and runs over a video without a map."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avol.apps.cli import main
from avol.export.engines import EngineOptions, build_engines
from avol.export.verify import LARGEST_DIFFERENCE, compare_with_network
from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError
from avol.runtime.system import AvolNetSystem
from avol.train.checkpoint import load_checkpoint, save_checkpoint
from avol.train.data.batch import seeded
from avol.train.data.scene_pool import ScenePool, scene_moments
from avol.train.loop import train
from avol.train.losses import correspondence_loss
from avol.train.network import PRESETS, AvolNet, build_network, preset_spec
from avol.train.network.ave_net import DistanceHead
from avol.train.recipes import TrainingOptions
from engine_graphs import needs_rtx

PRESET = "tiny-ave-net"
STEPS = 60
SAMPLE = Path(__file__).parents[1] / "runtime" / "samples" / "two-instruments.mp4"


@pytest.fixture(scope="module", autouse=True)
def tiny_preset():  # noqa: ANN201
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, PRESET, replace(PRESETS["ave-net-128"], width=1 / 8, convs_per_block=1))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, float]:
    """A run's folder, and the loss on fixed batches before and after it."""
    torch.manual_seed(0)
    out, spec = tmp_path_factory.mktemp("run"), preset_spec(PRESET)
    network = build_network(spec)
    pool = ScenePool(spec, scenes=40)
    options = TrainingOptions(steps=STEPS, warmup_steps=10, checkpoint_every=STEPS)
    batch_at = seeded(pool.draw_batch, options.seed, torch.device("cpu"))
    before = _loss(network, batch_at)
    train(network, batch_at, options, out)
    return out, before, _loss(network, batch_at)


def _loss(network: AvolNet, batch_at) -> float:  # noqa: ANN001
    """Mean over fixed batches, with the statistics of the batch as in training."""
    network.train()
    losses = []
    with torch.no_grad():
        for batch in (batch_at(step) for step in range(1000, 1004)):
            grid = network.frame_tower(batch.frames)
            vector = network.audio_tower(network.spectrogram(batch.samples))
            logits = network.head.all_pairs(grid, vector)
            losses.append(correspondence_loss(logits, batch.matches, known=batch.known).item())
    network.eval()
    return float(np.mean(losses))


@pytest.fixture(scope="module")
def exported(trained: tuple[Path, float, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    assert (
        main(["export", str(trained[0] / "checkpoint.safetensors"), "--out", str(folder), "--precision", "fp32"]) == 0
    )
    return folder


def test_the_head_is_an_affine_function_of_the_euclidean_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    grid, vector = torch.randn(4, 16, 1, 1, generator=generator), torch.randn(4, 16, generator=generator)
    head = DistanceHead()
    with torch.no_grad():
        head.scale.fill_(2.0)
        head.bias.fill_(0.5)
        expected = 0.5 - 2.0 * torch.cdist(F.normalize(grid.flatten(1)), F.normalize(vector))
        assert torch.allclose(head.all_pairs(grid, vector)[:, :, 0, 0], expected, atol=1e-5)
        assert torch.allclose(head(grid, vector)[:, 0, 0], expected.diagonal(), atol=1e-5)


def test_equal_vectors_have_a_finite_gradient() -> None:
    vector = torch.randn(3, 16, requires_grad=True)
    DistanceHead()(vector[:, :, None, None], vector).sum().backward()  # type: ignore[no-untyped-call]
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()


def test_where_something_is_does_not_matter_to_the_pooling() -> None:
    network = build_network(preset_spec(PRESET)).eval()
    seen = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = network.frame_tower.convs(network.frame_tower.scaled(seen))
        expected = network.frame_tower.embed(features.amax(dim=(2, 3), keepdim=True))
        assert torch.equal(network.frame_tower(seen), expected)
    assert expected.shape == (1, 128, 1, 1)


def test_loss_falls(trained: tuple[Path, float, float]) -> None:
    _, before, after = trained
    assert after < before - 0.02


def test_graphs_equal_the_network(trained: tuple[Path, float, float], exported: Path) -> None:
    differences = compare_with_network(trained[0] / "checkpoint.safetensors", exported)
    assert set(differences) == {"spectrogram", "audio", "frame", "head", "waveform-audio", "pair"}
    assert max(differences.values()) <= LARGEST_DIFFERENCE


def test_runtime_scores_without_a_map(trained: tuple[Path, float, float], exported: Path) -> None:
    network = load_checkpoint(trained[0] / "checkpoint.safetensors")
    moments = scene_moments(0, network.spec)[:3]
    frames = np.stack([moment.frame for moment in moments])
    samples = np.stack([moment.samples for moment in moments])
    with torch.no_grad():
        columns = network.spectrogram(torch.from_numpy(samples))
        expected = torch.sigmoid(network(torch.from_numpy(frames), torch.from_numpy(samples)))[:, 0, 0].numpy()
    with open_backend(exported, "cpu") as backend:
        found = AvolNetSystem(backend).localise(frames, columns.numpy())
    assert found.map is None
    assert np.allclose(found.score, expected, atol=2e-3)  # the graphs' convolution weights are rounded to half


def test_avol_run_writes_scores_and_no_places(exported: Path, tmp_path: Path) -> None:
    assert (
        main(["run", str(SAMPLE), "--model", str(exported), "--device", "cpu", "--output-dir", str(tmp_path), "--maps"])
        == 0
    )
    (path,) = tmp_path.glob("*.json")
    timeline = json.loads(path.read_text())
    assert timeline["model"]["system"] == "ave-net"
    assert timeline["frames"]
    for frame in timeline["frames"]:
        assert 0.0 <= frame["score"] <= 1.0
        assert frame["peak"] is frame["box"] is frame["map"] is None


def test_avol_verify_compares_it_with_itself(
    trained: tuple[Path, float, float], exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(trained[0] / "checkpoint.safetensors")
    code = main(["verify", checkpoint, str(exported), "--data", str(SAMPLE.parent), "--frames", "20"])
    assert code == 0, capsys.readouterr()


@needs_rtx
def test_every_graph_becomes_an_engine(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "model")
    built = build_engines(
        tmp_path / "model", precisions=("fp32",), engine="tensorrt-rtx", batches=(1, 8), options=EngineOptions()
    )
    assert "head" in {engine.info.role for engine in built}


def test_a_checkpoint_of_the_other_system_is_refused(tmp_path: Path) -> None:
    spec = preset_spec(PRESET)
    save_checkpoint(build_network(spec), replace(spec, system="avol-net"), tmp_path / "wrong.safetensors")
    with pytest.raises(AvolError, match="system"):
        load_checkpoint(tmp_path / "wrong.safetensors")
