"""From a folder of labelled material to batches."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.train.data.batch import Batch, TensorBatch
from avol.train.data.batches import BatchPlan, BatchSource, photograph_labels
from avol.train.data.classes import FAMILIES, MATCHES, join_names, match_table, split_names
from avol.train.data.cutouts import foreground_mask
from avol.train.data.held_out import held_out_batches
from avol.train.data.material import Clip, Material, Photograph, Sound, load_material, parse_boxes
from avol.train.data.pictures import (
    Box,
    Picture,
    augment_photometry,
    drawn_background,
    frame_view,
    mosaic,
    paste_cutout,
    photograph_view,
)
from avol.train.data.scene_pool import ScenePool, scene_moments
from avol.train.data.sounds import SoundAugmenter, draw_window, root_mean_square, window_at
from avol.train.network import preset_spec
from material_factory import (
    CLIP_BOX,
    COLOURS,
    HIDDEN_CLIP,
    LABELS,
    RATE,
    VIDEO_COLUMNS,
    colour_of,
    photograph,
    pitch_class,
    read_list,
    tone,
    write_list,
    write_material,
    write_sound,
)

SPEC = preset_spec("avol-128-half-width")
SOUND = SPEC.spectrogram
SIZE = 128
PLAN = BatchPlan(photograph_labels=4, clip_only_labels=0, scene_kinds=3, quiet_sounds=2, pictures=10, empty_pictures=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def material(folder: Path) -> Material:
    return load_material(folder, part="train", spec=SPEC)


@pytest.fixture(scope="module")
def pool() -> ScenePool:
    return ScenePool(SPEC, scenes=8, first_seed=5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def files(material: Material) -> set[str]:
    items: list[Photograph | Sound | Clip] = [*material.photographs, *material.sounds, *material.clips]
    return {item.file for item in items}


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Edges of the pixels of a mask, in 0..1."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height


# --- reading the lists


def test_parts_are_disjoint_and_complete(folder: Path) -> None:
    parts = {name: load_material(folder, part=name, spec=SPEC) for name in ("train", "validation", "test")}
    names = {part: files(material) for part, material in parts.items()}
    listed = {
        row["file"]: row["split"] for name in ("images", "audio", "videos") for row in read_list(folder / f"{name}.csv")
    }
    assert names["train"] | names["validation"] | names["test"] == set(listed)
    assert sum(map(len, names.values())) == len(listed)
    assert names["test"] == {file for file, split in listed.items() if split == "test"}
    assert 0 < len(names["validation"]) < 0.25 * len(names["train"])


def test_adding_files_moves_nobody(folder: Path, tmp_path: Path) -> None:
    def validation(folder: Path) -> set[str]:
        return files(load_material(folder, part="validation", spec=SPEC))

    before = validation(folder)
    more = shutil.copytree(folder, tmp_path / "more")
    rows = read_list(more / "images.csv")
    for number in range(60):
        name = f"banjo/more{number}.png"
        shutil.copy(more / "images" / rows[0]["file"], more / "images" / name)
        rows.insert(number, {"file": name, "class": "banjo", "split": "train"})
    write_list(more / "images.csv", rows)
    after = validation(more)
    assert before < after
    assert all("more" in name for name in after - before)


def test_validation_share_grows_as_a_superset(folder: Path) -> None:
    small = files(load_material(folder, part="validation", spec=SPEC, validation_share=0.1))
    large = files(load_material(folder, part="validation", spec=SPEC, validation_share=0.4))
    assert small < large


def test_what_is_in_memory(material: Material) -> None:
    for item in material.photographs:
        assert item.pixels.dtype == np.uint8
        assert max(item.pixels.shape[:2]) == 176
        assert colour_of(item.label, item.pixels).mean() > 0.1  # RGB, not BGR
        assert (item.mask is not None) == (int(item.file[-7:-4]) % 2 == 0)
    for sound in material.sounds:
        assert sound.samples.dtype == np.int16
        assert sound.samples.size == round(2.5 * RATE)
        assert pitch_class(sound.samples.astype(np.float32)) == sound.label
    for clip in material.clips:
        assert clip.frames.shape == (6, 144, 144, 3)
        np.testing.assert_allclose(clip.times_seconds, np.arange(6) / 3, atol=1e-3)
        assert clip.samples.size == pytest.approx(2.0 * RATE, abs=2)
        assert clip.source_visible == (clip.file != HIDDEN_CLIP)
        assert clip.boxes == ([CLIP_BOX] if clip.source_visible else [])
        assert clip.box_time_seconds == (1.0 if clip.source_visible else None)


def test_sound_keeps_its_level_and_time(folder: Path, tmp_path: Path) -> None:
    """Full scale neither wraps nor shrinks; a click stays where it is."""
    small = shutil.copytree(folder, tmp_path / "small")
    samples = np.zeros(RATE, np.float32)
    samples[4000], samples[4001] = 1.0, -1.0
    row = next(row for row in read_list(small / "audio.csv") if row["split"] == "test")
    write_sound(small / "audio" / row["file"], samples)
    material = load_material(small, part="test", spec=SPEC)
    found = next(sound.samples for sound in material.sounds if sound.file == row["file"])
    assert found[4000] >= 32765
    assert found[4001] <= -32765
    assert np.count_nonzero(found) == 2


def test_unknown_part(folder: Path) -> None:
    with pytest.raises(ValueError, match="allowed is one of train, validation, test"):
        load_material(folder, part="dev", spec=SPEC)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "broken")


def assert_refused(folder: Path, *words: str) -> None:
    with pytest.raises(AvolError) as caught:
        load_material(folder, part="train", spec=SPEC)
    assert "\n" not in str(caught.value)
    for word in (str(folder), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["images.csv", "audio.csv", "videos.csv"])
def test_missing_list(broken: Path, name: str) -> None:
    (broken / name).unlink()
    assert_refused(broken, name, "no such list")


def test_a_list_may_name_the_validation_part(broken: Path) -> None:
    rows = read_list(broken / "images.csv")
    named, trained = rows[0], next(row for row in rows[1:] if row["split"] == "train")
    before = {part: files(load_material(broken, part=part, spec=SPEC)) for part in ("train", "validation")}
    named["split"], trained["split"] = "validation", ""
    write_list(broken / "images.csv", rows)
    after = {part: files(load_material(broken, part=part, spec=SPEC)) for part in ("train", "validation", "test")}
    assert after["validation"] == before["validation"] | {named["file"]}
    assert after["train"] == before["train"] - {named["file"]}
    assert named["file"] not in after["test"]


def test_unknown_split_is_refused(broken: Path) -> None:
    rows = read_list(broken / "audio.csv")
    rows[3]["split"] = "Test"
    write_list(broken / "audio.csv", rows)
    assert_refused(broken, "audio.csv", rows[3]["file"], "'Test'", "train, validation, test")


def test_lists_of_spreadsheets_begin_with_a_mark(broken: Path) -> None:
    before = files(load_material(broken, part="test", spec=SPEC))
    for name in ("images.csv", "audio.csv", "videos.csv"):
        (broken / name).write_bytes(b"\xef\xbb\xbf" + (broken / name).read_bytes())
    assert files(load_material(broken, part="test", spec=SPEC)) == before


@pytest.mark.parametrize("name", ["images.csv", "audio.csv", "videos.csv"])
def test_list_without_a_column(broken: Path, name: str) -> None:
    rows = read_list(broken / name)
    for row in rows:
        del row["class"]
    write_list(broken / name, rows)
    assert_refused(broken, name, "has no column class")


def test_list_that_is_no_text(broken: Path) -> None:
    (broken / "images.csv").write_bytes(b"file,class,split\n\xff\xfe\n")
    assert_refused(broken, "images.csv", "not a readable list")


@pytest.mark.parametrize("box", ["0.1,0.2,0.3", "a,b,c,d", "0.1,0.2,0.3,0.4,0.5"])
def test_box_that_is_none(broken: Path, box: str) -> None:
    rows = read_list(broken / "videos.csv")
    for row in rows:
        row["box_x0y0x1y1_norm"] = box
    write_list(broken / "videos.csv", rows)
    assert_refused(broken, "videos.csv", ".mkv")


@pytest.mark.parametrize(("kind", "suffix"), [("images", ".png"), ("audio", ".wav"), ("videos", ".mkv")])
@pytest.mark.parametrize("content", [None, b"", b"nothing of the kind"])
def test_unreadable_file(broken: Path, kind: str, suffix: str, content: bytes | None) -> None:
    for path in list((broken / kind).rglob(f"*{suffix}")):
        path.unlink() if content is None else path.write_bytes(content)
    assert_refused(broken, kind, suffix)


def test_boxes_of_a_list() -> None:
    assert list(parse_boxes("")) == []
    assert list(parse_boxes("0,0.5,1.0,1|0.1,0.2,0.3,0.4")) == [(0, 0.5, 1, 1), (0.1, 0.2, 0.3, 0.4)]
    assert "box_x0y0x1y1_norm" in VIDEO_COLUMNS


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1)))
def test_names_of_classes_survive_the_spec(names: list[str]) -> None:
    assert split_names(join_names(names)) == names


def test_names_of_classes_as_older_specs_have_them() -> None:
    assert split_names("") == []
    assert split_names("banjo, flute, trumpet") == ["banjo", "flute", "trumpet"]
    assert join_names(["Violin, fiddle", "Banjo"]) == '"Violin, fiddle", Banjo'


# --- cut-outs and pictures


def white_photograph(label: str = "flute", number: int = 0) -> Photograph:
    pixels = photograph(label, number)
    return Photograph(label=label, file="", pixels=pixels, mask=foreground_mask(pixels))


def test_mask_is_the_object() -> None:
    pixels = photograph("banjo", 0)
    mask = foreground_mask(pixels)
    assert mask is not None
    assert mask.dtype == np.float32
    assert (mask.min(), mask.max()) == (0.0, 1.0)
    truth = (pixels != 255).any(axis=2)
    assert np.all(mask[~truth] < 0.5)
    assert ((mask > 0.5) & truth).sum() > 0.8 * truth.sum()  # all but the outermost pixels


def test_white_inside_an_object_belongs_to_it() -> None:
    pixels = photograph("banjo", 0)
    pixels[22:27, 28:33] = 255
    mask = foreground_mask(pixels)
    assert mask is not None
    assert mask[24, 30] == 1.0


def test_object_that_touches_the_border_is_cut_out() -> None:
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[30:, 10:20] = 0
    mask = foreground_mask(pixels)
    assert mask is not None
    assert mask[39, 15] == 1.0
    assert mask[0, 0] == mask[39, 39] == 0.0


@pytest.mark.parametrize("fill", [255, 0, 128])
def test_no_mask_without_an_object_on_white(fill: int) -> None:
    assert foreground_mask(np.full((40, 40, 3), fill, np.uint8)) is None
    assert foreground_mask(photograph("banjo", 1)) is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.25, 0.9))
def test_box_of_a_pasted_cutout_is_where_its_colour_is(seed: int, share: float) -> None:
    ground = Picture(np.full((SIZE, SIZE, 3), 128, np.uint8), [("piano", (0.0, 0.0, 1.0, 1.0))])
    pasted = paste_cutout(rng(seed), ground, white_photograph(), share)
    assert pasted.labels == ["piano", "flute"]
    changed = np.abs(pasted.pixels.astype(int) - 128).max(axis=2) > 25
    np.testing.assert_allclose(pasted.objects[1][1], box_of(changed), atol=3.5 / SIZE)
    assert np.all(ground.pixels == 128)  # the ground is not painted over in place


def test_pasted_cutout_is_upright_and_of_the_asked_size() -> None:
    """The object is 32 wide and 22 high; on the frame its longer side is the share, squashed by at most e^0.35."""
    ground = Picture(np.full((SIZE, SIZE, 3), 128, np.uint8), [])
    sizes = []
    for seed in range(40):
        x0, y0, x1, y1 = paste_cutout(rng(seed), ground, white_photograph(), 0.4).objects[0][1]
        if min(x0, y0) > 0 and max(x1, y1) < 1:
            sizes.append((x1 - x0, y1 - y0))
    widths, heights = np.array(sizes).T
    assert len(sizes) > 20
    assert np.median(widths) == pytest.approx(0.4, abs=0.06)
    assert np.median(heights) == pytest.approx(0.4 * 22 / 32, abs=0.06)


def test_mosaic_moves_boxes_with_their_tiles() -> None:
    tiles = []
    for label, colour in COLOURS.items():
        pixels = np.full((SIZE, SIZE, 3), 90, np.uint8)
        pixels[32:64, 64:96] = colour
        tiles.append(Picture(pixels, [(label, (0.5, 0.25, 0.75, 0.5))]))
    picture = mosaic(tiles)
    assert picture.pixels.shape == (SIZE, SIZE, 3)
    assert picture.labels == list(COLOURS)
    for position, (label, box) in enumerate(picture.objects):
        np.testing.assert_allclose(box, box_of(colour_of(label, picture.pixels)), atol=1 / SIZE)
        assert (box[0] >= 0.5, box[1] >= 0.5) == (position % 2 == 1, position >= 2)


@pytest.mark.parametrize("seed", range(12))
def test_mirroring_moves_boxes_with_the_pixels(seed: int) -> None:
    pixels = np.full((SIZE, SIZE, 3), 60, np.uint8)
    pixels[16:48, 80:112] = 230
    box = (80 / SIZE, 16 / SIZE, 112 / SIZE, 48 / SIZE)
    seen = augment_photometry(rng(seed), Picture(pixels, [("banjo", box)]))
    bright = seen.pixels.astype(float).mean(axis=2)
    threshold = (bright.min() + bright.max()) / 2
    np.testing.assert_allclose(seen.objects[0][1], box_of(bright > threshold), atol=4 / SIZE)


def test_half_of_the_pictures_are_mirrored() -> None:
    picture = Picture(np.zeros((8, 8, 3), np.uint8), [("banjo", (0.0, 0.0, 0.25, 1.0))])
    mirrored = [augment_photometry(rng(seed), picture).objects[0][1][0] > 0 for seed in range(200)]
    assert 70 < sum(mirrored) < 130


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_boxes_follow_the_crop_of_a_frame(seed: int) -> None:
    frame = np.full((144, 144, 3), 90, np.uint8)
    x0, y0, x1, y1 = (round(144 * edge) for edge in CLIP_BOX)
    frame[y0:y1, x0:x1] = COLOURS["trumpet"]
    view = frame_view(rng(seed), frame, "trumpet", [CLIP_BOX], SIZE)
    np.testing.assert_allclose(view.objects[0][1], box_of(colour_of("trumpet", view.pixels)), atol=2 / SIZE)


def test_whole_frame_without_a_crop() -> None:
    frame = rng().integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    view = frame_view(rng(), frame, "trumpet", [], SIZE, smallest_crop=1.0)
    assert np.array_equal(view.pixels, frame)
    assert view.objects == [("trumpet", (0.0, 0.0, 1.0, 1.0))]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(8, 300), width=st.integers(8, 300))
def test_photograph_of_any_shape_becomes_a_square(seed: int, height: int, width: int) -> None:
    pixels = rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for mask in (None, np.ones((height, width), np.float32)):
        view = photograph_view(rng(seed), Photograph(label="a", file="", pixels=pixels, mask=mask), SIZE)
        assert view.pixels.shape == (SIZE, SIZE, 3)
        assert view.pixels.dtype == np.uint8
        assert view.labels == ["a"]


def test_drawn_backgrounds_differ_and_show_nothing() -> None:
    grounds = [drawn_background(rng(seed), SIZE) for seed in range(4)]
    assert all(ground.objects == [] and ground.pixels.shape == (SIZE, SIZE, 3) for ground in grounds)
    assert len({ground.pixels.tobytes() for ground in grounds}) == 4


# --- sounds


@given(start=st.integers(-50, 150), count=st.integers(1, 120))
def test_window_is_placed_to_the_sample(start: int, count: int) -> None:
    samples = np.arange(1, 101, dtype=np.int16)
    expected = [(n + 1) / 32767 if 0 <= n < 100 else 0.0 for n in range(start, start + count)]
    window = window_at(samples, start, count)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, expected, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(0, 400), count=st.integers(4, 200))
def test_drawn_window_is_a_piece_of_the_recording(seed: int, length: int, count: int) -> None:
    samples = np.arange(1, length + 1, dtype=np.int16)
    window = np.rint(draw_window(rng(seed), samples, count) * 32767).astype(int)
    assert window.shape == (count,)
    heard = window[window > 0]
    assert heard.size == min(length, count)
    assert np.all(np.diff(heard) == 1)


def test_drawn_window_prefers_what_sounds() -> None:
    samples = np.zeros(10 * RATE, np.int16)
    samples[: 2 * RATE] = 8000
    drawn = [root_mean_square(draw_window(rng(seed), samples, RATE)) > 0.05 for seed in range(100)]
    alone = [root_mean_square(draw_window(rng(seed), samples, RATE, tries=1)) > 0.05 for seed in range(100)]
    assert np.mean(drawn) > np.mean(alone) + 0.2


@pytest.mark.parametrize("preset", ["avol-128", "avol-224"])
def test_augmented_sound_is_a_window(preset: str) -> None:
    spec = preset_spec(preset).spectrogram
    augment = SoundAugmenter(spec)
    noise = rng().standard_normal(augment.needed_samples).astype(np.float32)
    for seed in range(12):
        window = augment(rng(seed), noise)
        assert window.shape == (spec.clip_samples,)
        assert window.dtype == np.float32
        assert np.isfinite(window).all()
        assert np.abs(window).max() <= 1
        assert root_mean_square(window) > 0.01
        assert np.array_equal(window, augment(rng(seed), noise))
    assert not np.array_equal(augment(rng(1), noise), augment(rng(2), noise))


def test_augmented_tone_keeps_its_pitch_and_its_place() -> None:
    """A burst in the middle of the window stays there; its pitch moves by 7 % at most."""
    augment = SoundAugmenter(SOUND)
    samples = np.zeros(augment.needed_samples, np.float32)
    middle = augment.lead + augment.count // 2
    samples[middle : middle + 1600] = tone("banjo", 0.1)
    for seed in range(20):
        window = augment(rng(seed), samples)
        assert pitch_class(window) == "banjo"
        energy = np.add.reduceat(np.square(window), np.arange(0, augment.count, 1600))
        assert abs(int(energy.argmax()) - augment.count // 2 // 1600) <= 1


def test_silence_is_not_turned_up() -> None:
    """What is added to silence is the noise of a recording, well below the level that a sound gets."""
    augment = SoundAugmenter(SOUND)
    for seed in range(20):
        window = augment(rng(seed), np.zeros(augment.needed_samples, np.float32))
        assert root_mean_square(window) < 10 ** (-19.9 / 20)
        assert np.isfinite(window).all()


def test_coloured_noise_has_power_one() -> None:
    augment = SoundAugmenter(SOUND)
    for seed in range(5):
        noise = augment.coloured_noise(rng(seed))
        assert noise.shape == (SOUND.clip_samples,)
        assert root_mean_square(noise) == pytest.approx(1.0, rel=1e-4)


# --- classes


def test_table_of_matches() -> None:
    names = ["guitar", "acoustic_guitar", "electric_guitar", "flute", "recorder", "rain"]
    matches, known = match_table(names)
    assert np.array_equal(matches, matches.T)
    assert np.array_equal(known, known.T)
    assert matches.diagonal().all()
    assert known.diagonal().all()
    assert matches[0, 1]
    assert known[0, 1]
    assert not matches[1, 2]  # an acoustic and an electric guitar: alike, but not the same
    assert not known[1, 2]
    assert not known[3, 4]
    assert not matches[0, 3]
    assert known[0, 3]
    assert not (matches & ~known).any()


def test_every_match_is_in_a_family() -> None:
    assert all(any(pair <= family for family in FAMILIES) for pair in MATCHES)
    assert all(len(pair) == 2 for pair in MATCHES)
    assert all(re.fullmatch(r"[a-z_]+", name) for family in FAMILIES for name in family)


# --- batches


def assert_well_formed(batch: Batch, classes: int) -> None:
    pictures, sounds = len(batch.frames), len(batch.samples)
    assert batch.frames.shape == (pictures, SIZE, SIZE, 3)
    assert batch.frames.dtype == np.uint8
    assert batch.samples.shape == (sounds, SOUND.clip_samples)
    assert batch.samples.dtype == np.float32
    assert np.isfinite(batch.samples).all()
    assert np.abs(batch.samples).max() <= 1
    for table, shape in [
        (batch.matches, (pictures, sounds)),
        (batch.known, (pictures, sounds)),
        *((table, (pictures, classes)) for table in batch.seen),
        *((table, (sounds, classes)) for table in batch.heard),
    ]:
        assert table.shape == shape
        assert table.dtype == np.bool_
    assert not (batch.matches & ~batch.known).any()


def test_batch_of_material(material: Material) -> None:
    source = BatchSource(material, None, SPEC, PLAN)
    assert source.trained_labels == list(LABELS)
    batch = source.draw(rng(1))
    assert_well_formed(batch, len(LABELS))
    assert len(batch.frames) == PLAN.pictures
    assert len(batch.samples) == len(LABELS) + PLAN.quiet_sounds


def test_tables_say_what_is_seen_and_heard(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour and pitch tell the truth of every pair; no photometry, so that colours are what they were."""
    monkeypatch.setattr("avol.train.data.batches.augment_photometry", lambda _, picture: picture)
    source = BatchSource(material, None, SPEC, dataclasses.replace(PLAN, real_background_share=1.0))
    labels = sorted(source.index, key=source.index.__getitem__)
    agreed = total = 0
    for seed in range(4):
        batch = source.draw(rng(seed))
        assert np.array_equal(batch.matches, batch.seen[0] @ batch.heard[0].T)
        assert batch.known.all()
        heard = [labels[row.argmax()] if row.any() else None for row in batch.heard[0]]
        assert heard[len(LABELS) :] == [None] * PLAN.quiet_sounds
        assert [pitch_class(samples) for samples in batch.samples[: len(LABELS)]] == heard[: len(LABELS)]
        assert not batch.matches[:, len(LABELS) :].any()
        assert batch.seen[0][PLAN.empty_pictures :].any(axis=1).all()
        for frame, seen in zip(batch.frames, batch.seen[0], strict=True):
            hues = {label for label in LABELS if hue_share(label, frame) > 0.02}
            agreed += hues == {label for label, shown in zip(labels, seen, strict=True) if shown}
            total += 1
    assert agreed >= 0.85 * total  # what is pasted may cover the rest


def hue_share(label: str, pixels: NDArray[np.uint8]) -> float:
    """Share of the picture whose chroma points the way of the class's colour."""

    def chroma(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values - values.mean(axis=-1, keepdims=True))

    wanted, found = chroma(np.array(COLOURS[label], float)), chroma(pixels.astype(float))
    strength = np.linalg.norm(found, axis=-1)
    cosine = found @ wanted / np.maximum(strength * np.linalg.norm(wanted), 1e-9)
    return float(np.mean((cosine > 0.9) & (strength > 40)))


def test_batches_are_a_function_of_the_generator(material: Material, pool: ScenePool) -> None:
    source = BatchSource(material, pool, SPEC, PLAN)
    first, again, other = source.draw(rng(1)), source.draw(rng(1)), source.draw(rng(2))
    for name in ("frames", "samples", "matches", "known"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert not np.array_equal(first.samples, other.samples)


def test_scenes_join_a_batch_of_material(material: Material, pool: ScenePool) -> None:
    batch = BatchSource(material, pool, SPEC, PLAN).draw(rng(3))
    assert_well_formed(batch, len(LABELS))
    pictures, sounds = PLAN.pictures, len(LABELS) + PLAN.quiet_sounds
    assert batch.matches.shape == (pictures + PLAN.scene_kinds, sounds + PLAN.scene_kinds)
    scenes = batch.matches[pictures:, sounds:]
    assert scenes.diagonal().all()
    assert batch.known[pictures:, sounds:].all()
    # Across the worlds only silence and noise are asked for, and never match.
    assert not batch.known[:pictures, sounds:].any()
    assert not batch.known[pictures:, : len(LABELS)].any()
    assert batch.known[pictures:, len(LABELS) : sounds].all()
    assert not batch.matches[pictures:, :sounds].any()
    assert not batch.seen[1][pictures:].any()
    assert not batch.heard[1][sounds:].any()


def test_classes_of_one_family_are_not_held_against_each_other() -> None:
    """A photograph of a guitar matches any guitar's sound; an electric and an acoustic one are left alone."""
    names = ["acoustic_guitar", "electric_guitar", "guitar", "trumpet"]
    pixels, samples = photograph("flute", 1), (8000 * tone("flute", 2.0)).astype(np.int16)
    material = Material(
        photographs=[Photograph(label=name, file="", pixels=pixels, mask=None) for name in names for _ in range(30)],
        sounds=[Sound(label=name, file="", samples=samples) for name in names if name != "guitar"],
        clips=[],
    )
    assert photograph_labels(material) == names
    source = BatchSource(material, None, SPEC, dataclasses.replace(PLAN, mosaic_share=0.0, quiet_sounds=1))
    batch = source.draw(rng(0))
    classes = sorted(source.index)
    heard = [classes[row.argmax()] if row.any() else None for row in batch.heard[0]]
    for row, seen in zip(range(len(batch.frames)), batch.seen[0], strict=True):
        if not seen.any():
            continue
        for column, sound in enumerate(heard):
            expected = sound is not None and bool(seen[classes.index(sound)])
            assert batch.matches[row, column] == expected
    acoustic, electric = heard.index("acoustic_guitar"), heard.index("electric_guitar")
    only_electric: NDArray[np.bool_] = ~batch.matches[:, acoustic] & batch.matches[:, electric]
    assert only_electric.any()
    assert not batch.known[only_electric, acoustic].any()
    assert batch.known[only_electric, heard.index("trumpet")].all()


def test_clips_alone_make_batches(material: Material) -> None:
    clips = Material(photographs=[], sounds=[], clips=material.clips)
    source = BatchSource(clips, None, SPEC, dataclasses.replace(PLAN, clip_only_labels=3))
    assert source.photograph_labels == []
    batch = source.draw(rng(0))
    assert_well_formed(batch, len(LABELS))
    assert batch.matches[PLAN.empty_pictures :].any(axis=1).all()


def test_two_classes_are_enough_and_one_is_not(material: Material) -> None:
    def of(labels: tuple[str, ...]) -> Material:
        def kept(items: list) -> list:  # type: ignore[type-arg]
            return [item for item in items if item.label in labels]

        return Material(
            photographs=kept(material.photographs), sounds=kept(material.sounds), clips=kept(material.clips)
        )

    batch = BatchSource(of(LABELS[:2]), None, SPEC, dataclasses.replace(PLAN, mosaic_share=1.0)).draw(rng(0))
    assert_well_formed(batch, 2)
    for labels in (LABELS[:1], ()):
        with pytest.raises(AvolError, match="at least 2 are needed"):
            BatchSource(of(labels), None, SPEC, PLAN)


def test_hidden_source_is_never_a_match(material: Material) -> None:
    """A clip whose source is out of view serves as background and nothing else."""
    hidden: list[Clip] = [clip for clip in material.clips if not clip.source_visible]
    assert hidden
    source = BatchSource(material, None, SPEC, PLAN)
    assert all(clip.source_visible for clips in source.clips.values() for clip in clips)
    only_hidden = dataclasses.replace(material, clips=hidden)
    batch = BatchSource(only_hidden, None, SPEC, dataclasses.replace(PLAN, real_background_share=1.0)).draw(rng(0))
    assert not batch.seen[0][: PLAN.empty_pictures].any()


# --- scenes as training data


def test_scene_moments_are_a_function_of_the_seed() -> None:
    moments, again = scene_moments(11, SPEC), scene_moments(11, SPEC)
    assert moments
    for first, second in zip(moments, again, strict=True):
        assert np.array_equal(first.frame, second.frame)
        assert np.array_equal(first.samples, second.samples)
        assert first.sounding in first.kinds
        assert root_mean_square(first.samples) > 1e-3
        x0, y0, x1, y1 = first.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_pool_draws_different_kinds(pool: ScenePool) -> None:
    drawn = pool.draw(rng(0), 4, pictures_per_kind=2)
    assert drawn.frames.shape == (8, SIZE, SIZE, 3)
    assert drawn.samples.shape == (4, SOUND.clip_samples)
    assert drawn.samples.dtype == np.float32
    assert len(set(drawn.heard)) == 4
    # The two pictures of each kind show it.
    assert all(drawn.matches[row, row // 2] for row in range(8))


def test_batch_of_scenes(pool: ScenePool) -> None:
    batch = pool.draw_batch(rng(0))
    assert batch.known.all()
    assert np.array_equal(batch.matches, batch.seen[0] @ batch.heard[0].T)
    assert np.array_equal(batch.samples, pool.draw_batch(rng(0)).samples)
    assert_well_formed(batch, batch.heard[0].shape[1])


# --- held out, to validate with


@pytest.fixture(scope="module")
def held_out(folder: Path) -> list[TensorBatch]:
    material = load_material(folder, part="test", spec=SPEC)
    return held_out_batches(material, SPEC, PLAN, list(LABELS), torch.device("cpu"))


def test_held_out_mosaics_ask_for_the_right_quarter(held_out: list[TensorBatch]) -> None:
    asked = [batch for batch in held_out if batch.quarters is not None]
    assert sum(len(batch.frames) for batch in asked) == 192
    for batch in asked:
        assert batch.quarters is not None
        rows = zip(batch.frames.numpy(), batch.samples.numpy(), batch.quarters.tolist(), strict=True)
        for frame, window, quarter in rows:
            label = pitch_class(window)
            assert label is not None
            found = colour_of(label, frame).reshape(2, SIZE // 2, 2, SIZE // 2).sum(axis=(1, 3))
            assert found.argmax() == quarter


def test_held_out_batches_are_those_of_training_and_fixed(folder: Path, held_out: list[TensorBatch]) -> None:
    plain = [batch for batch in held_out if batch.quarters is None]
    assert len(plain) == 8
    assert all((batch.matches & batch.known).any() and (~batch.matches & batch.known).any() for batch in plain)
    material = load_material(folder, part="test", spec=SPEC)
    again = held_out_batches(material, SPEC, PLAN, list(LABELS), torch.device("cpu"))
    for one, other in zip(held_out, again, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.samples, other.samples)
    # Of three classes no mosaics of four are made, and one class is nothing to ask about.
    fewer = held_out_batches(material, SPEC, PLAN, list(LABELS[:3]), torch.device("cpu"))
    assert [batch.quarters for batch in fewer] == [None] * 8
    assert held_out_batches(material, SPEC, PLAN, list(LABELS[:1]), torch.device("cpu")) == []
