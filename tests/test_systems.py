"""Every system beside AVOL-net: learns, is exported in every precision, is what was trained, and runs over a video."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from avol.apps.cli import main
from avol.export.engines import EngineOptions, build_engines
from avol.export.engines_graph import drop_repeated_pairs, make_symmetric
from avol.export.verify import LARGEST_DIFFERENCE, compare_with_network
from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import bundled_sample, read_spec
from avol.runtime.spec import WAVEFORM, ModelSpec
from avol.runtime.system import SYSTEMS as RUNTIME_SYSTEMS
from avol.runtime.system import SYSTEMS_WITHOUT_MAP, AvolNetSystem
from avol.train.checkpoint import load_checkpoint, save_checkpoint
from avol.train.data.batch import TensorBatch, seeded
from avol.train.data.scene_pool import ScenePool, scene_moments
from avol.train.loop import train
from avol.train.network import PRESETS, TwoTowerNetwork, build_network, preset_spec
from avol.train.network.attention import AttentionHead
from avol.train.network.ave_net import DistanceHead
from avol.train.network.ez_vsl import TEMPERATURE, GuidedHead, TemperedHead
from avol.train.network.heads import Head
from avol.train.network.imagenet import load_imagenet
from avol.train.network.l3_net import FusionHead
from avol.train.network.presets import SYSTEMS
from avol.train.network.sound_net import waveform_convs
from avol.train.network.towers import IMAGENET_DEVIATION, IMAGENET_MEAN
from avol.train.recipes import TrainingOptions
from engine_graphs import needs_rtx

STEPS = 60
TINY = {
    "ave-net": replace(PRESETS["ave-net-128"], width=1 / 8, convs_per_block=1),
    "l3-net": replace(PRESETS["l3-net-128"], width=1 / 8, convs_per_block=1, embedding_size=64),
    "ez-vsl": replace(PRESETS["ez-vsl-128"], width=1 / 8, convs_per_block=1),
    "ez-vsl-guided": replace(PRESETS["ez-vsl-128"], system="ez-vsl-guided", width=1 / 8, convs_per_block=1),
    "attention": replace(PRESETS["attention-128"], width=1 / 8, convs_per_block=1),
    "sound-net": replace(PRESETS["sound-net-128"], width=1 / 8, convs_per_block=1),
}


@pytest.fixture(scope="module", autouse=True)
def tiny_presets():  # noqa: ANN201
    with pytest.MonkeyPatch.context() as patch:
        for system, preset in TINY.items():
            patch.setitem(PRESETS, f"tiny-{system}", preset)
        yield


@dataclass(frozen=True)
class Trained:
    """A run of one system: its checkpoint, and its loss on fixed batches before and after."""

    system: str
    checkpoint: Path
    loss_before: float
    loss_after: float


@pytest.fixture(scope="module", params=list(TINY))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.manual_seed(0)
    system: str = request.param
    out, spec = tmp_path_factory.mktemp("run"), preset_spec(f"tiny-{system}")
    network = build_network(spec)
    pool = ScenePool(spec, scenes=40)
    options = TrainingOptions(steps=STEPS, warmup_steps=10, checkpoint_every=STEPS)
    batch_at = seeded(pool.draw_batch, options.seed, torch.device("cpu"))
    before = mean_loss(network, batch_at)
    train(network, batch_at, options, out)
    return Trained(system, out / "checkpoint.safetensors", before, mean_loss(network, batch_at))


def mean_loss(network: TwoTowerNetwork, batch_at) -> float:  # noqa: ANN001
    """Of the system's own loss, over fixed batches, with the statistics of the batch as in training."""
    network.train()
    losses = []
    with torch.no_grad():
        for batch in (batch_at(step) for step in range(1000, 1004)):
            vector = network.audio_tower(network.spectrogram(batch.samples))
            logits = network.head.all_pairs(network.frame_tower(batch.frames), vector)
            losses.append(network.loss(logits, batch.matches, known=batch.known).item())
    network.eval()
    return float(np.mean(losses))


@pytest.fixture(scope="module")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    sample = str(bundled_sample().parent)
    # So little training leaves scores that rounding can tip: how far precisions may differ is asked below.
    options = ["--out", str(folder), "--calibration", sample, "--engine", "none", "--force"]
    assert main(["export", str(trained.checkpoint), *options]) == 0
    return folder


def test_every_system_has_a_tiny_one_and_a_door() -> None:
    assert {"avol-net", *TINY} == {*SYSTEMS} == {*RUNTIME_SYSTEMS}
    assert {name for name, system in SYSTEMS.items() if system.one_cell} == {*SYSTEMS_WITHOUT_MAP}


def test_loss_falls(trained: Trained) -> None:
    assert trained.loss_after < trained.loss_before - 0.02


def test_graphs_for_tensorrt_stay_close(exported: Path) -> None:
    """Through residual blocks as well: one signed pair in place of two unsigned ones."""
    for path in (exported / "frame.int8.onnx", exported / "audio.int8.onnx"):
        found = []
        for rewritten in (False, True):
            model = onnx.load(path)
            if rewritten:
                drop_repeated_pairs(model)
                make_symmetric(model)
            session = onnxruntime.InferenceSession(model.SerializeToString())
            (taken,) = session.get_inputs()
            sizes = {"batch": 3, "columns": read_spec(exported).spectrogram.columns}
            shape = [sizes.get(size, size) for size in taken.shape]
            rng = np.random.default_rng(0)
            pixels = rng.integers(0, 256, shape, np.uint8)
            values = pixels if "uint8" in taken.type else rng.standard_normal(shape).astype(np.float32)
            found.append(session.run(None, {taken.name: values})[0])
        assert np.abs(found[1] - found[0]).max() <= 0.25 * np.abs(found[0]).max()
        assert not np.array_equal(*found)  # the rewritten graph is another one


@pytest.mark.parametrize("system", list(TINY))
def test_an_interrupted_run_ends_as_if_it_had_not_been(system: str, tmp_path: Path) -> None:
    """With whatever a system learns beside its towers: temperatures, sharpness, a mixture of two maps."""
    spec = preset_spec(f"tiny-{system}")
    draw = seeded(ScenePool(spec, scenes=6).draw_batch, 0, torch.device("cpu"))
    options = TrainingOptions(steps=6, warmup_steps=2, checkpoint_every=3)

    def draw_or_stop(step: int) -> TensorBatch:
        if step == 5:  # two batches are drawn ahead
            raise InterruptedError
        return draw(step)

    def network_of(seed: int) -> TwoTowerNetwork:
        torch.manual_seed(seed)
        return build_network(spec)

    whole, broken, resumed = network_of(0), network_of(0), network_of(1)
    train(whole, draw, options, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train(broken, draw_or_stop, options, tmp_path / "parts")
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"] == 3
    train(resumed, draw, options, tmp_path / "parts")
    expected = whole.state_dict()
    assert expected.keys() == resumed.state_dict().keys()
    assert [name for name, found in resumed.state_dict().items() if not torch.equal(found, expected[name])] == []


def test_graphs_equal_the_network(trained: Trained, exported: Path) -> None:
    differences = compare_with_network(trained.checkpoint, exported)
    assert set(differences) == {"spectrogram", "audio", "frame", "head", "waveform-audio", "pair"}
    assert max(differences.values()) <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_runtime_answers_what_the_network_answers(trained: Trained, exported: Path, precision: str) -> None:
    network = load_checkpoint(trained.checkpoint)
    moments = scene_moments(0, network.spec)[:3]
    frames = np.stack([moment.frame for moment in moments])
    samples = np.stack([moment.samples for moment in moments])
    with torch.no_grad():
        columns = network.spectrogram(torch.from_numpy(samples))
        expected = torch.sigmoid(network(torch.from_numpy(frames), torch.from_numpy(samples))).numpy()
    with open_backend(exported, "cpu", precision) as backend:
        found = AvolNetSystem(backend).localise(frames, columns.numpy())
    tolerance = {"fp32": 5e-3, "fp16": 0.03, "int8": 0.25}[precision]
    assert np.allclose(found.score, expected.max(axis=(1, 2)), atol=tolerance)
    if trained.system in SYSTEMS_WITHOUT_MAP:
        assert found.map is None
    else:
        assert found.map is not None
        assert np.abs(found.map - expected).max() <= 2 * tolerance
        assert np.allclose(found.map.max(axis=(1, 2)), found.score)


def test_avol_run_runs_it(trained: Trained, exported: Path, tmp_path: Path) -> None:
    command = ["run", str(bundled_sample()), "--model", str(exported), "--device", "cpu", "--maps", "--no-video"]
    assert main([*command, "--output-dir", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.json")
    timeline = json.loads(path.read_text())
    assert timeline["model"]["system"] == trained.system
    assert timeline["frames"]
    for frame in timeline["frames"]:
        assert 0.0 <= frame["score"] <= 1.0
        if trained.system in SYSTEMS_WITHOUT_MAP:
            assert frame["peak"] is frame["box"] is frame["map"] is None
        else:
            assert np.max(frame["map"]) == pytest.approx(frame["score"], abs=1e-3)


def test_avol_verify_compares_it_with_itself(
    trained: Trained, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["verify", str(trained.checkpoint), str(exported), "--data", str(bundled_sample().parent), "--frames", "20"]
    )
    assert code == 0, capsys.readouterr()


@needs_rtx
def test_every_graph_becomes_an_engine(trained: Trained, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "model")
    built = build_engines(
        tmp_path / "model",
        precisions=("fp32", "fp16", "int8"),
        engine="tensorrt-rtx",
        batches=(1, 8),
        options=EngineOptions(),
    )
    assert {(engine.info.role, engine.info.precision) for engine in built} >= {
        *(("head", "fp32"), ("pair", "fp32"), ("pair", "fp16"), ("pair", "int8"))
    }


def test_a_checkpoint_of_another_system_is_refused(tmp_path: Path) -> None:
    spec = preset_spec("tiny-ave-net")
    save_checkpoint(build_network(spec), replace(spec, system="avol-net"), tmp_path / "wrong.safetensors")
    with pytest.raises(AvolError, match="system"):
        load_checkpoint(tmp_path / "wrong.safetensors")


HEADS: dict[str, Head] = {
    "distance": DistanceHead(),
    "fusion": FusionHead(16),
    "tempered": TemperedHead(),
    "attention": AttentionHead(16),
}


@pytest.mark.parametrize("name", list(HEADS))
def test_all_pairs_are_the_pairs_one_by_one(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    grid, vector = torch.randn(4, 16, 3, 5, generator=generator), torch.randn(3, 16, generator=generator)
    with torch.no_grad():
        found = HEADS[name].all_pairs(grid, vector)
        for column in range(len(vector)):
            expected = HEADS[name](grid, vector[column].expand(len(grid), -1))
            assert torch.allclose(found[:, column], expected, atol=1e-4)
    assert found.shape == (4, 3, 3, 5)


@pytest.mark.parametrize("name", list(HEADS))
def test_equal_and_empty_vectors_have_a_finite_gradient(name: str) -> None:
    vector = torch.randn(3, 16)
    vector[2] = 0.0
    vector.requires_grad_()
    HEADS[name](vector[:, :, None, None], vector).sum().backward()  # type: ignore[no-untyped-call]
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()


def test_the_distance_head_is_an_affine_function_of_the_euclidean_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    grid, vector = torch.randn(4, 16, 1, 1, generator=generator), torch.randn(4, 16, generator=generator)
    head = DistanceHead()
    with torch.no_grad():
        head.scale.fill_(2.0)
        head.bias.fill_(0.5)
        expected = 0.5 - 2.0 * torch.cdist(F.normalize(grid.flatten(1)), F.normalize(vector))
        assert torch.allclose(head.all_pairs(grid, vector)[:, :, 0, 0], expected, atol=1e-5)


def test_the_fusion_head_is_a_layer_on_the_concatenation() -> None:
    head = FusionHead(16)
    grid, vector = torch.randn(2, 16, 1, 1), torch.randn(2, 16)
    with torch.no_grad():
        weight = torch.cat([head.of_frame.weight, head.of_sound.weight], dim=1)
        fused = F.linear(torch.cat([grid.flatten(1), vector], dim=1), weight, head.of_frame.bias).relu()
        assert torch.allclose(head(grid, vector)[:, 0, 0], head.classify(fused)[:, 0], atol=1e-5)


def test_attention_sums_what_the_sound_asks_for() -> None:
    """With identities for layers, and a focus so sharp that one cell is all that is seen."""
    head = AttentionHead(4)
    grid, vector = torch.zeros(1, 4, 1, 2), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    grid[0, 0, 0, 0], grid[0, 1, 0, 1] = 2.0, 3.0  # the first cell points the sound's way, the second across
    with torch.no_grad():
        for layer in (head.query[1], head.represent[0], head.represent[2]):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
        head.focus.fill_(100.0)
        logits = head(grid, vector)[0, 0]
        nearest = head.bias - head.scale * 1e-3  # the smallest distance that is told apart from none
        assert logits[0] == pytest.approx(nearest.item(), abs=2e-3)
        assert logits[0] - logits[1] == pytest.approx(100.0, abs=1e-2)


def test_a_guided_map_mixes_two_and_its_maximum_is_the_pairs_own() -> None:
    grid, vector = torch.zeros(1, 3, 1, 3), torch.tensor([[1.0, 0.0, 9.0]])
    grid[0, :2, 0] = torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])  # cosines 1, 0 and 0.6 with the sound
    grid[0, 2, 0] = torch.tensor([5.0, 7.0, 10.0])  # objects: 0, 0.4 and 1 when stretched
    with torch.no_grad():
        logits = GuidedHead()(grid, vector)[0, 0]
        plain = GuidedHead().all_pairs(grid, vector)[0, 0, 0]
    assert torch.allclose(plain, torch.tensor([1.0, 0.0, 0.6]) / TEMPERATURE, atol=1e-3)
    assert logits.max() == pytest.approx(plain.max().item())
    mixed = torch.tensor([0.4 * 1.0, 0.6 * 0.4, 0.4 * 0.6 + 0.6 * 1.0])
    assert torch.allclose(logits - logits.max(), 6.0 * (mixed - mixed.max()), atol=1e-3)


def residual_state(blocks: int) -> dict[str, torch.Tensor]:
    """Random weights of a narrow ResNet under torchvision's names."""
    network = build_network(preset_spec("tiny-ez-vsl-guided"))
    tower = {name: torch.rand_like(value.float()) for name, value in network.frame_tower.convs.state_dict().items()}
    parts = {"main.0": "conv1", "main.1": "bn1", "main.3": "conv2", "main.4": "bn2"}
    parts |= {"shortcut.0": "downsample.0", "shortcut.1": "downsample.1"}
    named: dict[str, torch.Tensor] = {}
    for name, value in tower.items():
        position, _, rest = name.partition(".")
        if int(position) < 4:
            named[f"{('conv1', 'bn1')[int(position)]}.{rest}"] = value
        else:
            stage, block = divmod(int(position) - 4, blocks)
            part, _, kind = rest.rpartition(".")
            named[f"layer{stage + 1}.{block}.{parts[part]}.{kind}"] = value
    return named | {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}


def test_weights_of_imagenet_come_from_a_file(tmp_path: Path) -> None:
    state = residual_state(blocks=1)
    torch.save(state, tmp_path / "resnet.pth")
    network = build_network(preset_spec("tiny-ez-vsl-guided"))
    load_imagenet(network, tmp_path / "resnet.pth")
    tower = network.frame_tower
    for part in (tower.convs, tower.objects):
        assert torch.equal(part[0].weight, state["conv1.weight"])
        assert torch.equal(part[6].main[3].weight, state["layer3.0.conv2.weight"])
        assert torch.equal(part[7].shortcut[1].bias, state["layer4.0.downsample.1.bias"])
    network.train()
    assert network.frame_tower.convs[1].training
    assert not network.frame_tower.objects[1].training
    assert not any(parameter.requires_grad for parameter in network.frame_tower.objects.parameters())


@pytest.mark.parametrize(
    ("content", "preset", "said"),
    [
        (None, "tiny-ez-vsl", "no such file"),
        (b"not weights", "tiny-ez-vsl", "not a readable file"),
        ({"conv1.weight": torch.zeros(3)}, "tiny-ez-vsl", "not the weights of a ResNet"),
        ([1, 2], "tiny-ez-vsl", "not a table of weights"),
        ({"conv1.weight": torch.zeros(3)}, "tiny-attention", "has no ResNet"),
    ],
)
def test_other_weights_are_refused(content: object, preset: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(AvolError, match=said) as caught:
        load_imagenet(build_network(preset_spec(preset)), path)
    assert "\n" not in str(caught.value)


def test_imagenet_towers_see_what_they_were_trained_on() -> None:
    tower = build_network(preset_spec("tiny-ez-vsl")).frame_tower
    pixels = torch.randint(0, 256, (1, 4, 4, 3), dtype=torch.uint8)
    expected = (pixels.float() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_DEVIATION)
    assert torch.allclose(tower.scaled(pixels), expected.permute(0, 3, 1, 2), atol=1e-5)


def test_the_waveform_passes_through_its_columns_unchanged() -> None:
    network = build_network(preset_spec("tiny-sound-net"))
    samples = torch.randn(2, network.spec.spectrogram.clip_samples)
    columns = network.spectrogram(samples)
    assert columns.shape == (2, 125, 128)
    assert torch.equal(network.audio_tower.as_picture(columns).flatten(1), samples)
    # Seconds in a row: each column starts where the one before it ended.
    assert torch.equal(network.spectrogram(samples.reshape(1, -1))[:, :, 128:], columns[1:])


def test_the_sixth_layer_of_the_waveform_tower_still_has_a_time_axis() -> None:
    with torch.no_grad():
        features = waveform_convs(1 / 8)(torch.zeros(1, 1, 1, 16000))
    assert features.shape[:3] == (1, 64, 1)
    assert features.shape[3] >= 1


def test_a_spec_says_that_it_hears_the_waveform() -> None:
    spec = preset_spec("sound-net-128")
    assert spec.spectrogram.kind == WAVEFORM
    assert ModelSpec.from_json(spec.to_json(), origin="here") == spec
    assert '"kind"' not in preset_spec("avol-128").to_json()
    assert "spectrogram.kind" in spec.differences(preset_spec("avol-128"))
    for wrong in ({"kind": "mel"}, {"rows": 124}):
        text = json.loads(spec.to_json())
        text["spectrogram"] |= wrong
        with pytest.raises(AvolError, match="not a usable model spec"):
            ModelSpec.from_json(json.dumps(text), origin="here")
