"""Vectors of whole files: windows as they should be cut, both ways to run a model, the arrays, files that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.apps.cli import main
from avol.runtime.embedder import Embedder, embed_file
from avol.runtime.embedding_file import FORMAT
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.sound_windows import hop_in_samples, read_windows, sound_windows
from avol.train.checkpoint import load_checkpoint
from avol.train.embedder import LAYERS, sound_arrays, sound_vectors
from avol.train.network import build_network, preset_spec
from material_factory import RATE, tone, write_sound
from media_factory import AudioTrack, VideoTrack, numbered_picture, write_media, write_picture

MODEL = bundled_model_folder()
CHECKPOINT = MODEL / "checkpoint.safetensors"
GRID = preset_spec("avol-128").spectrogram
SIZE = 128
SHAPES = {
    "format": (),
    "model_name": (),
    "model_sha256": (),
    "backend": (),
    "precision": (),
    "window_seconds": (),
    "hop_seconds": (),
    "files": ("F",),
    "padded_seconds": ("F",),
    "sound_embeddings": ("N", SIZE),
    "sound_file": ("N",),
    "sound_start_seconds": ("N",),
    "sound_mean": ("F", SIZE),
    "frame_embeddings": ("M", SIZE),
    "frame_file": ("M",),
    "frame_time_seconds": ("M",),
    "frame_mean": ("F", SIZE),
}

Arrays = dict[str, NDArray]


def read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


# Windows


@given(
    samples=st.integers(0, 60),
    clip=st.integers(1, 20),
    hop=st.integers(1, 25),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_windows_are_those_of_the_whole_sound_however_it_comes(
    samples: int, clip: int, hop: int, cuts: list[int]
) -> None:
    sound = np.arange(1, samples + 1, dtype=np.float32)
    chunks = np.split(sound, sorted(cut for cut in cuts if cut <= samples))
    found = list(sound_windows(chunks, clip_samples=clip, hop_samples=hop))
    starts = [window.start_sample for window in found]
    if samples < clip:
        assert starts == [0] * (samples > 0)
    else:
        regular = list(range(0, samples - clip + 1, hop))
        assert starts == regular + [samples - clip] * (regular[-1] + clip < samples)
        assert starts[-1] + clip == samples
    for window in found:
        expected = sound[window.start_sample :][:clip]
        assert window.heard == len(expected)
        assert np.array_equal(window.samples, np.pad(expected, (0, clip - len(expected))))


def test_the_hop_is_half_a_window_unless_it_is_named() -> None:
    assert hop_in_samples(GRID, None) == GRID.clip_samples // 2
    assert hop_in_samples(GRID, 0.25) == 4000
    assert hop_in_samples(GRID, 1e-9) == 1


# Files


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds, a video, a mute one, a picture; and what is none of these."""
    folder = tmp_path_factory.mktemp("media")
    write_sound(folder / "long.wav", 0.3 * tone("banjo", 2.6))
    write_sound(folder / "short.wav", 0.3 * tone("flute", 0.4))
    write_sound(folder / "silence.wav", np.zeros(2 * RATE, np.float32))
    video = VideoTrack(seconds=2.0, rate=10, picture=numbered_picture)
    sound = AudioTrack(samples=0.3 * tone("flute", 2.0)[None], sample_rate=RATE, codec="pcm_s16le")
    write_media(folder / "video.mkv", video, sound)
    write_media(folder / "mute.mp4", video)
    write_picture(folder / "picture.png", numbered_picture(5, 96, 64))
    return folder


@pytest.fixture(scope="module")
def embedded(media: Path) -> dict[str, Arrays]:
    """The same files by the exported model and by its checkpoint."""
    found = {}
    for name, model in (("exported", MODEL), ("checkpoint", CHECKPOINT)):
        out = media / f"{name}.npz"
        assert main(["embed", str(model), str(media), "--out", str(out), "--hop", "0.5", "--rate", "2"]) == 0
        found[name] = read(out)
    return found


@pytest.mark.parametrize("way", ["exported", "checkpoint"])
def test_the_arrays_are_the_documented_ones(embedded: dict[str, Arrays], media: Path, way: str) -> None:
    arrays = embedded[way]
    sizes = {"F": 6, "N": len(arrays["sound_file"]), "M": len(arrays["frame_file"])}
    assert {name: array.shape for name, array in arrays.items()} == {
        name: tuple(sizes.get(side, side) for side in shape)  # type: ignore[call-overload]
        for name, shape in SHAPES.items()
    }
    names = [Path(str(name)).name for name in arrays["files"]]
    assert names == ["long.wav", "mute.mp4", "picture.png", "short.wav", "silence.wav", "video.mkv"]
    assert str(arrays["model_sha256"]) == load_checkpoint(CHECKPOINT).spec.weights_sha256
    assert (str(arrays["format"]), str(arrays["precision"])) == ("avol.embeddings/1", "fp32")
    assert float(arrays["hop_seconds"]) == 0.5
    for kind in ("sound", "frame"):
        vectors = arrays[f"{kind}_embeddings"]
        assert vectors.dtype == arrays[f"{kind}_mean"].dtype == np.float32
        assert np.isfinite(vectors).all()
        for number in range(6):
            own, mean = vectors[arrays[f"{kind}_file"] == number], arrays[f"{kind}_mean"][number]
            assert np.isnan(mean).all() if not len(own) else np.allclose(mean, own.mean(axis=0), atol=1e-5)


def test_every_file_has_the_windows_and_pictures_that_are_in_it(embedded: dict[str, Arrays]) -> None:
    arrays = embedded["exported"]
    last = 2.6 - GRID.clip_seconds
    starts = {number: arrays["sound_start_seconds"][arrays["sound_file"] == number] for number in range(6)}
    times = {number: arrays["frame_time_seconds"][arrays["frame_file"] == number] for number in range(6)}
    assert starts[0].tolist() == [0.0, 0.5, 1.0, 1.5, pytest.approx(last)]
    assert starts[3].tolist() == [0.0]
    assert [len(starts[number]) for number in (1, 2)] == [0, 0]
    assert [len(starts[number]) for number in (4, 5)] == [3, 3]  # 0, 0.5, and the one that ends with the sound
    assert times[2].tolist() == [0.0]
    assert times[5].tolist() == times[1].tolist() == pytest.approx([0.0, 0.5, 1.0, 1.5])
    assert np.flatnonzero(arrays["padded_seconds"]).tolist() == [3]
    assert arrays["padded_seconds"][3] == pytest.approx(GRID.clip_seconds - 0.4, abs=1e-3)


def test_both_ways_are_the_same_network(embedded: dict[str, Arrays], media: Path) -> None:
    for name in ("sound_embeddings", "frame_embeddings"):
        one, other = embedded["exported"][name], embedded["checkpoint"][name]
        assert np.abs(one - other).max() < 0.01 * np.abs(one).max()  # the graphs' weights are rounded to half
    network = load_checkpoint(CHECKPOINT)
    samples = torch.from_numpy(0.3 * tone("banjo", 2.6))
    with torch.no_grad():
        expected = network.audio_tower(network.spectrogram(samples[None, 8000 : 8000 + GRID.clip_samples]))[0]
    row = embedded["checkpoint"]["sound_embeddings"][1]
    assert np.abs(row - expected.numpy()).max() < 1e-2 * float(expected.abs().max())  # the file has 16 bits


def test_layers_are_what_they_say() -> None:
    network = load_checkpoint(CHECKPOINT)
    samples = torch.from_numpy(0.3 * tone("banjo", 1.1)[None, : GRID.clip_samples])
    with torch.no_grad():
        pooled = sound_vectors(network, samples, "pooled")
        assert torch.equal(network.audio_tower.embed(pooled), sound_vectors(network, samples))
    assert pooled.shape == (1, 256)
    assert LAYERS == ("embedding", "pooled")
    with pytest.raises(ValueError, match="layer"):
        sound_vectors(network, samples, "last")
    many = np.repeat(samples.numpy(), 70, axis=0)
    assert sound_arrays(network, many).shape == (70, SIZE)


@pytest.mark.parametrize(
    "preset", ["ave-net-128-half-width", "l3-net-128-half-width", "ez-vsl-128-half-width", "sound-net-128-half-width"]
)
def test_every_system_has_both_layers(preset: str) -> None:
    network = build_network(preset_spec(preset)).eval()
    samples = 0.3 * tone("banjo", 1.1)[None, : network.spec.spectrogram.clip_samples]
    assert sound_arrays(network, samples).shape == (1, network.spec.embedding_size)
    assert sound_arrays(network, samples, "pooled").shape == (1, 256)


def test_a_short_sound_is_padded_and_said_so(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = media / "short.npz"
    assert main(["embed", str(MODEL), str(media / "short.wav"), str(media / "mute.mp4"), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "0.40 s of sound, padded with silence to the 1.02 s" in said.err
    assert "no audio stream" in said.err
    assert "2 of 2 files, 0 failed" in said.out
    (window,) = read_windows(media / "short.wav", GRID)
    assert window.heard == pytest.approx(0.4 * RATE, abs=2)
    assert not window.samples[window.heard :].any()


def test_an_exported_model_needs_no_torch(media: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; from avol.apps.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["embed", str(MODEL), str(media / "long.wav"), "--out", str(media / "light.npz")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Mistakes


def test_bad_files_are_counted_and_the_others_written(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    (tmp_path / "empty.flac").touch()
    good = os.fsencode(tmp_path) + b"/sp\xffrache.wav"
    os.link(media / "long.wav", good)
    out = tmp_path / "out.npz"
    assert main(["embed", str(MODEL), str(tmp_path), str(tmp_path / "gone.wav"), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "1 of 4 files, 3 failed" in said.out
    lines = said.err.splitlines()
    assert len(lines) == 3
    for name, fact in (
        ("text", "not a media file"),
        ("empty", "is empty"),
        ("gone", "no such file"),
    ):
        assert any(name in line and fact in line for line in lines), name
    assert read(out)["files"].tolist() == [f"{tmp_path}/sp\\udcffrache.wav"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_sound_give_finite_vectors(tmp_path: Path, value: float) -> None:
    path = tmp_path / "numbers.wav"
    samples = np.full((1, 2 * RATE), value, np.float32)
    write_media(path, None, AudioTrack(samples=samples, sample_rate=RATE, codec="pcm_f32le"))
    assert main(["embed", str(MODEL), str(path), "--out", str(tmp_path / "out.npz")]) == 0
    assert np.isfinite(read(tmp_path / "out.npz")["sound_embeddings"]).all()


def test_a_model_without_finite_numbers_is_no_embedder(media: Path) -> None:
    embedder = Embedder(
        spec=preset_spec("avol-128"),
        backend="none",
        precision="fp16",
        sounds=lambda samples: np.full((len(samples), SIZE), np.nan, np.float32),
        frames=lambda pixels: np.zeros((len(pixels), SIZE), np.float32),
    )
    assert len(embed_file(media / "mute.mp4", embedder, rate_hz=5).frames) == 10
    with pytest.raises(AvolError, match="no finite numbers"):
        embed_file(media / "video.mkv", embedder)


def test_nothing_usable_leaves_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    np.savez(tmp_path / "out.npz", format=FORMAT, files=np.array(["earlier"]))
    earlier = (tmp_path / "out.npz").read_bytes()
    assert main(["embed", str(MODEL), str(tmp_path / "text.wav"), "--out", str(tmp_path / "out.npz")]) == 1
    assert "none of the 1 files could be used" in capsys.readouterr().err
    assert (tmp_path / "out.npz").read_bytes() == earlier
    assert {path.name for path in tmp_path.iterdir()} == {"text.wav", "out.npz"}


@pytest.mark.parametrize(
    ("arguments", "status", "fact"),
    [
        ([str(MODEL), "x.wav", "--out", "x.csv"], 2, "--out must end with .npz"),
        ([str(MODEL), "x.wav", "--out", "x.npz", "--hop", "0"], 2, "0 is not between 0.001 and 1000"),
        ([str(MODEL), "x.wav", "--out", "x.npz", "--rate", "nan"], 2, "nan is not between"),
        ([str(MODEL), "x.wav", "--out", "nowhere/x.npz"], 1, "does not exist"),
        ([str(MODEL), ".", "--out", "x.npz"], 1, "no media in this folder"),
        (["nowhere", "x.wav", "--out", "x.npz"], 1, "no such checkpoint"),
        (["a" * 300, "x.wav", "--out", "x.npz"], 1, "no such checkpoint"),
        ([str(CHECKPOINT), "x.wav", "--out", "x.npz", "--precision", "int8"], 1, "a checkpoint computes in fp32"),
        ([str(CHECKPOINT), "x.wav", "--out", "x.npz", "--device", "cuda"], 1, "a checkpoint computes in fp32"),
        ([str(MODEL), "x.wav", "--out", "x.npz", "--precision", "fp16"], 1, "no fp16 graphs"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    fact: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if status == 2:
        with pytest.raises(SystemExit) as ended:
            main(["embed", *arguments])
        assert ended.value.code == 2
    else:
        assert main(["embed", *arguments]) == status
    error = capsys.readouterr().err
    assert fact in error
    assert status == 2 or len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_another_program_s_file_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sound = tmp_path / "vectors.npz", tmp_path / "tone.wav"
    sound.write_bytes(b"not looked at")
    for content in (b"hi", b""):
        out.write_bytes(content)
        assert main(["embed", str(bundled_model_folder()), str(sound), "--out", str(out)]) == 1
        assert "no file of avol embed" in capsys.readouterr().err
        assert out.read_bytes() == content
    np.savez(out, format="somebody's", numbers=np.zeros(3))
    content = out.read_bytes()
    assert main(["embed", str(bundled_model_folder()), str(sound), "--out", str(out)]) == 1
    assert out.read_bytes() == content
