"""Makes a small folder of labelled material: every class has its own colour and its own pitch.

Photographs show an ellipse of the class's colour (half of them on white, half on a grey scene), recordings and clips
sound a tone of its pitch, and clips show a square of its colour at ``CLIP_BOX``. Someone who knows this can tell which
sound belongs to which place in which picture: see :func:`colour_of` and :func:`pitch_class`.
"""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from media_factory import AudioTrack, VideoTrack, write_media

RATE = 16_000
COLOURS = {"accordion": (230, 20, 20), "banjo": (20, 200, 30), "flute": (30, 40, 230), "trumpet": (235, 210, 20)}
HERTZ = {"accordion": 300.0, "banjo": 700.0, "flute": 1500.0, "trumpet": 3000.0}
LABELS = tuple(COLOURS)
CLIP_BOX = (0.125, 0.5, 0.375, 0.75)  # x0, y0, x1, y1: left of the centre, and below it
CLIP_SECONDS = 2.0
HIDDEN_CLIP = "hidden.mkv"  # its source is not in the picture
VIDEO_COLUMNS = ("file", "video_id", "class", "source_visible", "box_time_s", "box_x0y0x1y1_norm", "split")


def write_material(folder: Path, *, photographs: int = 44, sounds: int = 8, clips: int = 2) -> Path:
    """Write the three lists and their files; the numbers are of each class, and as many quarters more for the test.

    Gives ``folder``.
    """
    images, recordings, videos = [], [], []
    for label in LABELS:
        for number in range(photographs + photographs // 4):
            row = {"file": f"{label}/{number:03}.png", "class": label, "split": _split(number, photographs)}
            images.append(row)
            _write_pixels(folder / "images" / row["file"], photograph(label, number))
        for number in range(sounds + sounds // 4):
            row = {"file": f"{label}/{number:03}.wav", "class": label, "split": _split(number, sounds)}
            recordings.append(row)
            write_sound(folder / "audio" / row["file"], 0.3 * tone(label, 2.5, phase=number))
        for number in range(clips + 1):
            videos.append(_write_clip(folder / "videos", label, number, _split(number, clips)))
    hidden = _write_clip(folder / "videos", "banjo", 9, "train", name=HIDDEN_CLIP, visible=False)
    write_list(folder / "images.csv", images)
    write_list(folder / "audio.csv", recordings)
    write_list(folder / "videos.csv", [*videos, hidden])
    return folder


def write_list(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_list(path: Path) -> list[dict[str, str]]:
    """Read what :func:`write_list` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def photograph(label: str, number: int) -> NDArray[np.uint8]:
    """An ellipse near the middle, on white if ``number`` is even: ``48 x 60 x 3`` RGB."""
    rng = np.random.default_rng([LABELS.index(label), number])
    if number % 2 == 0:
        pixels = np.full((48, 60, 3), 255, np.uint8)
    else:
        grey = rng.integers(60, 180, (48, 60, 1), dtype=np.uint8)
        pixels = np.ascontiguousarray(np.broadcast_to(grey, (48, 60, 3)))
    centre = (30 + int(rng.integers(-4, 5)), 24 + int(rng.integers(-3, 4)))
    return np.asarray(cv2.ellipse(pixels, centre, (16, 11), 0, 0, 360, COLOURS[label], -1), dtype=np.uint8)


def tone(label: str, seconds: float, *, phase: float = 0.0) -> NDArray[np.float32]:
    """A full-scale tone of the class's pitch."""
    times = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * HERTZ[label] * times + phase).astype(np.float32)


def write_sound(path: Path, samples: NDArray[np.float32]) -> None:
    """Write mono samples as a 16-bit WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def colour_of(label: str, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture has the class's colour: bool, without the axis of colours."""
    near = np.abs(pixels.astype(np.int16) - np.array(COLOURS[label], np.int16)) < 60
    return np.asarray(near[..., 0] & near[..., 1] & near[..., 2])


def pitch_class(samples: NDArray[np.float32]) -> str | None:
    """The class whose pitch is the loudest in some samples, None if they are silent."""
    samples = samples[: 1 << (len(samples).bit_length() - 1)]  # a power of two: the transform is the cost
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    if spectrum.max() < 1e-3 * len(samples):
        return None
    loudest = float(spectrum.argmax()) * RATE / len(samples)
    return min(LABELS, key=lambda label: abs(HERTZ[label] - loudest))


def _split(number: int, of_training: int) -> str:
    return "train" if number < of_training else "test"


def _write_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])


def _write_clip(
    folder: Path, label: str, number: int, split: str, *, name: str = "", visible: bool = True
) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)

    def picture(index: int, width: int, height: int) -> NDArray[np.uint8]:
        pixels = np.full((height, width, 3), 90 + 5 * (number % 3), np.uint8)
        x0, y0, x1, y1 = (np.array(CLIP_BOX) * [width, height, width, height]).astype(int)
        pixels[y0:y1, x0:x1] = COLOURS[label] if visible else 90
        return pixels

    file = name or f"{label}-{number}.mkv"
    write_media(
        folder / file,
        VideoTrack(seconds=CLIP_SECONDS, rate=12, width=96, height=64, picture=picture, matrix="bt601"),
        AudioTrack(samples=0.4 * tone(label, CLIP_SECONDS, phase=number)[None], sample_rate=RATE, codec="pcm_s16le"),
    )
    box = ",".join(map(str, CLIP_BOX)) if visible else ""
    values = (file, f"clip:{file}", label, "yes" if visible else "no", "1" if visible else "", box, split)
    return dict(zip(VIDEO_COLUMNS, values, strict=True))
