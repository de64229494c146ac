"""What the first click shows, made of the sample that ships with the package: nothing is downloaded."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import cv2
import numpy as np

from avol.apps.demo_app.limits import Limits
from avol.apps.demo_app.still import read_sound
from avol.runtime.media.source import open_source
from avol.runtime.media.video import VideoReader
from avol.runtime.model_folder import bundled_sample

PICTURE_SECONDS = 1.0
SOUNDS_SECONDS = {"guitar": (0.4, 2.0), "horn": (2.5, 4.1)}  # who is heard from when to when
SOUND_RATE_HZ = 48_000


def example_video(folder: Path) -> Path:
    """The sample, copied into a folder."""
    return Path(shutil.copy(bundled_sample(), folder / "two-instruments.mp4"))


def example_picture(folder: Path) -> Path:
    """A picture of the sample, written into a folder as PNG."""
    with VideoReader(open_source(bundled_sample()), frame_height=8, frame_width=8, rate_hz=1.0) as frames:
        frame = next(frame for frame in frames if frame.time_seconds >= PICTURE_SECONDS)
        pixels = frame.picture.to_ndarray(format="bgr24")
    path = folder / "two-instruments.png"
    cv2.imwrite(str(path), pixels)
    return path


def example_sounds(folder: Path) -> list[Path]:
    """One sound of each instrument of the sample, written into a folder as WAV."""
    samples = read_sound(bundled_sample(), SOUND_RATE_HZ, Limits())
    paths = []
    for name, (start_seconds, end_seconds) in SOUNDS_SECONDS.items():
        part = samples[round(start_seconds * SOUND_RATE_HZ) : round(end_seconds * SOUND_RATE_HZ)]
        path = folder / f"{name}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SOUND_RATE_HZ)
            file.writeframes((np.clip(part, -1.0, 1.0) * 32767).astype("<i2").tobytes())
        paths.append(path)
    return paths
