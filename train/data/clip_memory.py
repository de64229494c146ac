"""Clips as training reads them: frames and windows of sound by number, from the device's memory if they fit there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avol.runtime.spec import SpectrogramSpec
from avol.train.data.sounds import window_at

if TYPE_CHECKING:
    from avol.train.data.pairs import PairClip

Indices = NDArray[np.int64]
LARGEST_SHARE = 0.5  # of the device's free memory; the rest is for the network's activations


class ClipMemory:
    """Random access to all clips.

    Args:
        clips: memory-mapped or in memory; frames of one size.
        spectrogram: length and rate of windows.
        device: where frames and windows are wanted.
    """

    def __init__(self, clips: Sequence[PairClip], spectrogram: SpectrogramSpec, device: torch.device) -> None:
        self.clips, self.device = clips, device
        self.count, self.rate_hz = spectrogram.clip_samples, spectrogram.sample_rate_hz
        self.times = [np.asarray(clip.times_seconds) for clip in clips]
        self.frame_counts = np.array([len(times) for times in self.times])
        self.resident = device.type == "cuda" and self._bytes() < LARGEST_SHARE * torch.cuda.mem_get_info(device)[0]
        if self.resident:
            self._move_to_device()

    def frames(self, clips: Indices, positions: Indices) -> Tensor:
        """uint8 ``N x S x S x 3`` on the device."""
        if self.resident:
            return self._frames[torch.from_numpy(self._first_frame[clips] + positions).to(self.device)]
        frames = np.stack([self.clips[c].frames[p] for c, p in zip(clips, positions, strict=True)])
        return torch.from_numpy(frames).to(self.device, non_blocking=True)

    def windows(self, clips: Indices, positions: Indices) -> Tensor:
        """float32 ``N x clip_samples`` on the device: the sound around frames, silence beyond the ends."""
        centres = [round(self.times[c][p] * self.rate_hz) for c, p in zip(clips, positions, strict=True)]
        starts = np.array(centres, dtype=np.int64) - self.count // 2
        if self.resident:
            return self._resident_windows(clips, starts)
        windows = [window_at(self.clips[c].samples, int(s), self.count) for c, s in zip(clips, starts, strict=True)]
        return torch.from_numpy(np.stack(windows)).to(self.device, non_blocking=True)

    def _resident_windows(self, clips: Indices, starts: Indices) -> Tensor:
        def moved(array: Indices) -> Tensor:
            return torch.from_numpy(array).to(self.device)[:, None]

        inside = moved(starts) + torch.arange(self.count, device=self.device)
        lengths = moved(self._sample_counts[clips])
        positions = moved(self._first_sample[clips]) + inside.clamp(min=0).minimum(lengths - 1)
        # The same scale as window_at's.
        values = self._samples[positions].float() / 32767
        return values * ((inside >= 0) & (inside < lengths))

    def _bytes(self) -> int:
        return sum(clip.frames.nbytes + clip.samples.nbytes for clip in self.clips)

    def _move_to_device(self) -> None:
        self._sample_counts = np.array([len(clip.samples) for clip in self.clips])
        self._first_frame = np.concatenate([[0], np.cumsum(self.frame_counts)[:-1]])
        self._first_sample = np.concatenate([[0], np.cumsum(self._sample_counts)[:-1]])
        # Clip by clip: all of them would not fit into the host's memory twice.
        shape = self.clips[0].frames.shape[1:]
        self._frames = torch.empty((int(self.frame_counts.sum()), *shape), dtype=torch.uint8, device=self.device)
        self._samples = torch.empty(int(self._sample_counts.sum()), dtype=torch.int16, device=self.device)
        for clip, frame, sample in zip(self.clips, self._first_frame, self._first_sample, strict=True):
            self._frames[frame : frame + len(clip.frames)] = torch.from_numpy(np.array(clip.frames))
            self._samples[sample : sample + len(clip.samples)] = torch.from_numpy(np.array(clip.samples))
