"""The audio tower as it would run over a track: convolutions see what is beside a window, not zeros.

A window of 128 columns gives 8 columns of features. Over a running spectrogram every column of features is computed
once, whatever number of windows it is in: at ten windows a second that is an eighth of the work. A tower trained on
windows gives other values there; here it is trained on what it will see. ``running.py`` measures what the bundled one,
which was not, loses.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from avol.runtime.spec import ModelSpec
from avol.train.network.towers import AudioTower

STRIDE = 16  # columns of the spectrogram to one of features


def with_context(spec: ModelSpec, context_columns: int) -> ModelSpec:
    """A spec whose windows reach further to both sides: what goes through the convolutions, not what is heard."""
    sound = spec.spectrogram
    return replace(spec, spectrogram=replace(sound, columns=sound.columns + 2 * context_columns))


def running_vectors(tower: AudioTower, columns: Tensor, context_columns: int) -> Tensor:
    """Vectors of the windows in the middle of longer stretches.

    Args:
        tower: of the network.
        columns: float32 ``N x rows x (window + 2 context)``.
        context_columns: a multiple of the stride; 66 columns and more reach beyond the receptive field.

    Returns:
        ``N x E``.
    """
    features = tower.convs(columns.unsqueeze(1))
    margin = context_columns // STRIDE
    window = features[..., margin : features.shape[-1] - margin]
    vector: Tensor = tower.embed(window.amax(dim=(2, 3)))
    return vector
