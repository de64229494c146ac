"""The registry: every network that can be trained, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec, SpectrogramSpec
from avol.train.network.ave_net import AveNet
from avol.train.network.avol_net import AvolNet

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


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What distinguishes one network from another; ``system`` is a key of :data:`SYSTEMS`."""

    frame_size: int
    spectrogram: SpectrogramSpec
    width: float = 1.0
    convs_per_block: int = 2
    system: str = "avol-net"


@dataclass(frozen=True, kw_only=True)
class NetworkSystem:
    """A family of networks: its class, and whether its frame tower pools the grid to one cell (then it has no map)."""

    network: type[AvolNet]
    one_cell: bool = False


SYSTEMS = {"avol-net": NetworkSystem(network=AvolNet), "ave-net": NetworkSystem(network=AveNet, one_cell=True)}

_FULL = Preset(frame_size=128, spectrogram=SPECTROGRAM_128)
PRESETS: dict[str, Preset] = {
    "avol-128": _FULL,
    "avol-128-half-width": replace(_FULL, width=0.5),
    "avol-128-half-depth": replace(_FULL, convs_per_block=1),
    "avol-224": Preset(frame_size=224, spectrogram=SPECTROGRAM_224),
    "ave-net-128": replace(_FULL, system="ave-net"),
    "ave-net-128-half-width": replace(_FULL, system="ave-net", width=0.5),
    "ave-net-224": Preset(frame_size=224, spectrogram=SPECTROGRAM_224, system="ave-net"),
}


def preset_spec(preset: str) -> ModelSpec:
    """The spec of an untrained network.

    Raises:
        AvolError: no preset of that name.
    """
    if preset not in PRESETS:
        raise AvolError(f"{preset}: no such preset; choose one of {', '.join(PRESETS)}.")
    size, system = PRESETS[preset].frame_size, PRESETS[preset].system
    cells = 1 if SYSTEMS[system].one_cell else size // 16
    return ModelSpec(
        name=preset,
        system=system,
        preset=preset,
        frame_height=size,
        frame_width=size,
        grid_height=cells,
        grid_width=cells,
        embedding_size=128,
        spectrogram=PRESETS[preset].spectrogram,
    )


def build_network(spec: ModelSpec) -> AvolNet:
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
    network = SYSTEMS[preset.system].network
    return network(spec, width=preset.width, convs_per_block=preset.convs_per_block)
