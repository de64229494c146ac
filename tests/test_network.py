"""The network as built: sizes, the loss it starts from, what its modes do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from avol.runtime.errors import AvolError
from avol.train.network import PRESETS, TwoTowerNetwork, build_network, preset_spec
from avol.train.network.cost import count_multiply_adds
from avol.train.network.presets import SYSTEMS

PAIRS = 8
MILLION_PARAMETERS = {
    **{"avol-128": 9.54, "avol-128-half-width": 2.44, "avol-128-half-depth": 3.27, "avol-224": 9.54},
    **{"ave-net-128": 9.54, "ave-net-128-half-width": 2.44, "ave-net-224": 9.54},
    **{"l3-net-128": 9.50, "l3-net-128-half-width": 2.41, "l3-net-224": 9.50},
    # Two ResNet-18 of 11.2 million without classifiers, of which one takes a single channel; guided: three.
    **{"ez-vsl-128": 22.48, "ez-vsl-128-half-width": 5.66, "ez-vsl-224": 22.87, "ez-vsl-224-guided": 34.05},
    **{"attention-128": 9.59, "attention-128-half-width": 2.49},
    **{"sound-net-128": 5.62, "sound-net-128-half-width": 1.47},
}


def drawn_pairs(network: TwoTowerNetwork, seed: int = 0, pairs: int = PAIRS) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random pictures and tones in noise: nothing matches, everything is of ordinary strength."""
    generator = torch.Generator().manual_seed(seed)
    spec = network.spec
    coarse = torch.rand(pairs, 3, 8, 8, generator=generator)
    pictures = F.interpolate(coarse, size=(spec.frame_height, spec.frame_width), mode="bicubic").clamp(0, 1)
    frames = (pictures * 255).to(torch.uint8).permute(0, 2, 3, 1)
    sound = spec.spectrogram
    times = torch.arange(sound.clip_samples) / sound.sample_rate_hz
    pitches = 200 + 2000 * torch.rand(pairs, 1, generator=generator)
    noise = 0.02 * torch.randn(pairs, sound.clip_samples, generator=generator)
    return frames, 0.2 * torch.sin(2 * torch.pi * pitches * times) + noise


@pytest.fixture(params=list(PRESETS))
def network(request: pytest.FixtureRequest) -> TwoTowerNetwork:
    torch.manual_seed(0)
    return build_network(preset_spec(request.param))


def test_sizes_are_those_of_the_paper(network: TwoTowerNetwork) -> None:
    frames, samples = drawn_pairs(network, pairs=2)
    with torch.no_grad():
        maps = network.eval()(frames, samples)
    cell_pixels = 32 if network.spec.preset.startswith("ez-vsl-224") else 16
    side = 1 if SYSTEMS[network.spec.system].one_cell else network.spec.frame_height // cell_pixels
    assert maps.shape == (2, side, side)
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert parameters == pytest.approx(MILLION_PARAMETERS[network.spec.preset], abs=0.005)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("preset", [name for name in PRESETS if SYSTEMS[preset_spec(name).system].single_pairs])
def test_the_loss_starts_at_chance(preset: str, training: bool, seed: int) -> None:
    torch.manual_seed(seed)
    network = build_network(preset_spec(preset)).train(training)
    frames, samples = drawn_pairs(network, seed)
    with torch.no_grad():
        scores = network(frames, samples).amax(dim=(1, 2))
    labels = torch.arange(PAIRS).remainder(2).float()
    assert F.binary_cross_entropy_with_logits(scores, labels).item() == pytest.approx(0.69, abs=0.05)


def test_the_first_1x1_convolution_is_followed_by_a_relu(network: TwoTowerNetwork) -> None:
    towers = [tower for tower in (network.frame_tower, network.audio_tower) if len(tower.embed) > 1]
    assert bool(towers) == (network.spec.system not in {"l3-net", "ez-vsl", "ez-vsl-guided"})  # those have one or none
    for tower in towers:
        kinds = [type(layer).__name__ for layer in tower.embed]
        assert kinds[1] == "ReLU"
        assert len(kinds) == 3


def test_all_pairs_are_the_pairs(network: TwoTowerNetwork) -> None:
    frames, samples = drawn_pairs(network, pairs=3)
    network.eval()
    with torch.no_grad():
        grid, vector = network.frame_tower(frames), network.audio_tower(network.spectrogram(samples))
        square = network.head.all_pairs(grid, vector)
        for shift in range(3):
            rolled = network.head(grid, vector.roll(shift, dims=0))
            expected = square[torch.arange(3), (torch.arange(3) - shift) % 3]
            if network.spec.system == "ez-vsl-guided":  # mixes maps of pairs, which changes no pair's logit
                rolled, expected = rolled.amax(dim=(1, 2)), expected.amax(dim=(1, 2))
            assert torch.allclose(rolled, expected, rtol=1e-4, atol=1e-5)


def test_a_frame_is_judged_by_itself_in_evaluation_mode(network: TwoTowerNetwork) -> None:
    frames, samples = drawn_pairs(network)
    network.eval()
    before = {name: value.clone() for name, value in network.named_buffers()}
    with torch.no_grad():
        together, alone = network(frames, samples), network(frames[:1], samples[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_batch_norms_learn_from_the_batch_in_training_mode(network: TwoTowerNetwork) -> None:
    frames, samples = drawn_pairs(network)
    learning = [name for name, _ in network.named_buffers() if "running_mean" in name and ".objects." not in name]
    before = {name: value.clone() for name, value in network.named_buffers() if name in learning}
    with torch.no_grad():
        together, alone = network.train()(frames, samples), network.train()(frames[:2], samples[:2])
    assert not torch.allclose(together[:2], alone, atol=1e-5)
    assert all(not torch.equal(value, before[name]) for name, value in network.named_buffers() if name in before)


def test_unknown_presets_and_wrong_sizes_are_one_line() -> None:
    with pytest.raises(AvolError, match=r"avol-129: no such preset; choose one of avol-128"):
        preset_spec("avol-129")
    spec = preset_spec("avol-128")
    object.__setattr__(spec, "grid_height", 9)
    with pytest.raises(AvolError, match="grid_height"):
        build_network(spec)


def test_arithmetic_is_counted_where_it_is_done() -> None:
    """A layer of a ResNet-18 by hand; AVOL-net's 1.68 billion are in the tests of its drawing."""
    network = build_network(preset_spec("ez-vsl-128"))
    before = network.training
    total = count_multiply_adds(network)
    first = 64 * 64 * 64 * 3 * 7 * 7  # 7x7 from 3 to 64 channels, at half of 128 pixels
    for parameter in (network.frame_tower.convs[0],):
        with_half = parameter.out_channels * 64 * 64 * parameter.in_channels * 49
        assert with_half == first
    network.frame_tower.convs[0] = torch.nn.Conv2d(3, 64, 1, stride=2, bias=False)
    assert total - count_multiply_adds(network) == first - first // 49
    assert network.training == before
    assert not any(module._forward_hooks for module in network.modules())
