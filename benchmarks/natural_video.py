"""Material for timing: costs a codec what natural videos do, and holds a source that the bundled model finds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avol.runtime.model_folder import bundled_sample

SECONDS, WIDTH, HEIGHT, RATE = 60, 1280, 720, 30
AUDIO_RATE_HZ = 48_000
SAMPLE_RATE = 25  # pictures a second of the bundled sample
TEXTURE_SHARE = 0.5  # of the textures' contrast: the sample stays visible


def write_natural_video(path: Path) -> None:
    """The bundled sample over and over, in which something is found, under textures that drift at several speeds."""
    pictures, track = sample_parts()
    textures = drifting_textures()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "b": "4M", "maxrate": "6M"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.thread_type = "FRAME"
        audio = container.add_stream("aac", rate=AUDIO_RATE_HZ)
        audio.layout = "mono"
        for second in range(SECONDS):
            block = np.take(track, np.arange(AUDIO_RATE_HZ) + second * AUDIO_RATE_HZ, mode="wrap")
            frame = av.AudioFrame.from_ndarray(block[None], "fltp", "mono")
            frame.sample_rate, frame.pts = AUDIO_RATE_HZ, second * AUDIO_RATE_HZ
            container.mux(audio.encode(frame))
            for index in range(second * RATE, (second + 1) * RATE):
                planes = pictures[round(index / RATE * SAMPLE_RATE) % len(pictures)].copy()
                planes[:HEIGHT] = np.clip(planes[:HEIGHT] + next(textures), 16, 235)
                picture = av.VideoFrame.from_ndarray(planes, "yuv420p")
                picture.pts, picture.time_base = index, Fraction(1, RATE)
                container.mux(video.encode(picture))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))


def sample_parts() -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """The bundled sample: planes of its pictures at the size of the material, ``1.5 H x W``, and its mono track."""
    with av.open(str(bundled_sample())) as container:
        pictures = [
            picture.reformat(width=WIDTH, height=HEIGHT, format="yuv420p").to_ndarray()
            for picture in container.decode(video=0)
        ]
    with av.open(str(bundled_sample())) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        track = np.concatenate([part.to_ndarray()[0] for part in parts])
    return pictures, track[: len(pictures) * AUDIO_RATE_HZ // SAMPLE_RATE]


def drifting_textures() -> Iterator[NDArray[np.float32]]:
    """What is added to the luma of one picture after the other: blurred noise, the finest the fastest, and grain."""
    rng = np.random.default_rng(0)
    layers = []
    for blur in (3, 9, 31):
        noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, 2 * WIDTH)).astype(np.float32), (0, 0), blur)
        layers.append(noise / noise.std())
    grain = rng.normal(0, 1.5, (8, HEIGHT, WIDTH)).astype(np.float32)
    for index in itertools.count():
        drifted = [np.roll(layer, -index * (3 - k), axis=1)[:, :WIDTH] for k, layer in enumerate(layers)]
        yield grain[index % len(grain)] + sum(TEXTURE_SHARE * (14 + 8 * k) * part for k, part in enumerate(drifted))
