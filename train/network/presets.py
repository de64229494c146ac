"""The registry: every network that can be trained, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from avol.runtime.errors import AvolError
from avol.runtime.spec import WAVEFORM, ModelSpec, SpectrogramSpec
from avol.train.network.attention import AttentionNet
from avol.train.network.ave_net import AveNet
from avol.train.network.avol_net import AvolNet
from avol.train.network.ez_vsl import EzVsl
from avol.train.network.l3_net import L3Net
from avol.train.network.sound_net import SoundNet
from avol.train.network.two_towers import TwoTowerNetwork

# 128 columns a second; 256 of the 257 bins (the constant part carries no sound) averaged in pairs give 128 rows.
SPECTROGRAM_128 = SpectrogramSpec(
    sample_rate_hz=16_000,
    window_samples=512,
    fft_samples=512,
    hop_samples=125,
    first_bin=1,
    bins_per_row=2,
    rows=128,
    columns=128,
    power_floor=1e-6,
    log_mean=-7.0,
    log_scale=3.5,
)
# The paper's: one second at 48 kHz, 10 ms windows with half overlap, all 257 bins of a 512-point transform.
SPECTROGRAM_224 = SpectrogramSpec(
    sample_rate_hz=48_000,
    window_samples=480,
    fft_samples=512,
    hop_samples=240,
    first_bin=0,
    bins_per_row=1,
    rows=257,
    columns=200,
    power_floor=1e-6,
    log_mean=-7.0,
    log_scale=3.5,
)
# The second itself, in 128 columns of 125 samples. What concerns frequencies and levels is not used.
WAVEFORM_128 = SpectrogramSpec(
    kind=WAVEFORM,
    sample_rate_hz=16_000,
    window_samples=125,
    fft_samples=250,
    hop_samples=125,
    first_bin=0,
    bins_per_row=1,
    rows=125,
    columns=128,
    power_floor=1e-6,
    log_mean=0.0,
    log_scale=1.0,
)
# EZ-VSL's: three seconds at 16 kHz, all 257 bins, a column every 10 ms.
SPECTROGRAM_3_SECONDS = replace(
    SPECTROGRAM_224, sample_rate_hz=16_000, window_samples=512, hop_samples=160, columns=297
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What distinguishes one network from another.

    Attributes:
        frame_size: pixels of a side.
        spectrogram: how it hears.
        width: share of the full network's channels.
        convs_per_block: or residual blocks per stage.
        system: a key of :data:`SYSTEMS`.
        cell_pixels: of a side of a map's cell.
        embedding_size: of the vectors that meet.
    """

    frame_size: int
    spectrogram: SpectrogramSpec
    width: float = 1.0
    convs_per_block: int = 2
    system: str = "avol-net"
    cell_pixels: int = 16
    embedding_size: int = 128


@dataclass(frozen=True, kw_only=True)
class NetworkSystem:
    """A family of networks.

    Attributes:
        network: builds one, of a spec, ``width=`` and ``convs_per_block=``.
        one_cell: its frame tower pools the grid to one cell: it has no map.
        residual: its towers are ResNets, which may start from ImageNet.
        guided: it holds an image network, whose weights come from elsewhere.
        single_pairs: it can be learnt from single pairs, as the report's recipe does; others need whole batches.
    """

    network: Callable[..., TwoTowerNetwork]
    one_cell: bool = False
    residual: bool = False
    guided: bool = False
    single_pairs: bool = True


SYSTEMS = {
    "avol-net": NetworkSystem(network=AvolNet),
    "ave-net": NetworkSystem(network=AveNet, one_cell=True),
    "l3-net": NetworkSystem(network=L3Net, one_cell=True),
    "ez-vsl": NetworkSystem(network=EzVsl, residual=True, single_pairs=False),
    "ez-vsl-guided": NetworkSystem(network=partial(EzVsl, guided=True), residual=True, guided=True, single_pairs=False),
    "attention": NetworkSystem(network=AttentionNet, single_pairs=False),
    "sound-net": NetworkSystem(network=SoundNet),
}

_FULL = Preset(frame_size=128, spectrogram=SPECTROGRAM_128)
_LARGE = Preset(frame_size=224, spectrogram=SPECTROGRAM_224)
_EZ_VSL = Preset(frame_size=224, spectrogram=SPECTROGRAM_3_SECONDS, system="ez-vsl", cell_pixels=32, embedding_size=512)
PRESETS: dict[str, Preset] = {
    "avol-128": _FULL,
    "avol-128-half-width": replace(_FULL, width=0.5),
    "avol-128-half-depth": replace(_FULL, convs_per_block=1),
    "avol-224": _LARGE,
    "ave-net-128": replace(_FULL, system="ave-net"),
    "ave-net-128-half-width": replace(_FULL, system="ave-net", width=0.5),
    "ave-net-224": replace(_LARGE, system="ave-net"),
    "l3-net-128": replace(_FULL, system="l3-net", embedding_size=512),
    "l3-net-128-half-width": replace(_FULL, system="l3-net", width=0.5, embedding_size=256),
    "l3-net-224": replace(_LARGE, system="l3-net", embedding_size=512),
    "ez-vsl-128": replace(_FULL, system="ez-vsl"),
    "ez-vsl-128-half-width": replace(_FULL, system="ez-vsl", width=0.5),
    "ez-vsl-224": _EZ_VSL,
    "ez-vsl-224-guided": replace(_EZ_VSL, system="ez-vsl-guided"),
    "attention-128": replace(_FULL, system="attention"),
    "attention-128-half-width": replace(_FULL, system="attention", width=0.5),
    "sound-net-128": replace(_FULL, system="sound-net", spectrogram=WAVEFORM_128),
    "sound-net-128-half-width": replace(_FULL, system="sound-net", spectrogram=WAVEFORM_128, width=0.5),
}


def preset_spec(preset: str) -> ModelSpec:
    """The spec of an untrained network.

    Raises:
        AvolError: no preset of that name.
    """
    if preset not in PRESETS:
        raise AvolError(f"{preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    size, system = PRESETS[preset].frame_size, PRESETS[preset].system
    cells = 1 if SYSTEMS[system].one_cell else size // PRESETS[preset].cell_pixels
    return ModelSpec(
        name=preset,
        system=system,
        preset=preset,
        frame_height=size,
        frame_width=size,
        grid_height=cells,
        grid_width=cells,
        embedding_size=PRESETS[preset].embedding_size,
        spectrogram=PRESETS[preset].spectrogram,
    )


def build_network(spec: ModelSpec) -> TwoTowerNetwork:
    """The untrained network that a spec describes.

    Raises:
        AvolError: the spec names an unknown preset, or sizes that the preset does not have.
    """
    expected = preset_spec(spec.preset)
    sizes = ("system", "frame_height", "frame_width", "grid_height", "grid_width", "embedding_size", "spectrogram")
    wrong = [name for name in sizes if getattr(spec, name) != getattr(expected, name)]
    if wrong:
        raise AvolError(
            f"{spec.name}: {', '.join(wrong)} differ from preset {spec.preset}; use a model of this preset."
        )
    preset = PRESETS[spec.preset]
    build = SYSTEMS[preset.system].network
    return build(spec, width=preset.width, convs_per_block=preset.convs_per_block)
