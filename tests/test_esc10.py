"""The downstream test on generated clips: which rows are ESC-10's, what is counted, and the figures beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avol.apps.cli import main
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import bundled_model_folder
from avol.train.protocols.esc10 import COMMONEST, MEAN, NETWORK, SPECTROGRAM, UNTRAINED, UNTRAINED_SEEDS
from avol.train.protocols.esc10_list import Clip, read_clips
from material_factory import tone, write_sound
from tiny_model import save_tiny, tiny_preset

TITLE = "ESC-10, accuracy of a linear probe"
FOLDS, TAKES = (1, 2, 3), "AB"


@pytest.fixture(scope="module", autouse=True)
def preset() -> Iterator[None]:
    with tiny_preset():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two takes a class and fold under names of their own, a list with the original ones; some are not to be had."""
    folder = tmp_path_factory.mktemp("esc")
    rows = ["file,class,path,split"]
    for fold in FOLDS:
        for number, label in enumerate(("banjo", "flute")):
            for take in TAKES:
                original = f"{fold}-{fold}{number}-{take}"
                name, seconds = f"{label}/esc10_{original}.wav", 1.0 if original == "1-10-A" else 1.3
                noise = np.random.default_rng([fold, number, ord(take)]).standard_normal(int(seconds * 16_000))
                level = 0.002 if label == "banjo" else 0.1  # a tone, or a tone under noise
                write_sound(folder / name, 0.3 * tone(label, seconds) + level * noise.astype(np.float32))
                rows.append(f"{name},{label},001 - {label}/{original}.ogg,{'test' if fold == 1 else 'train'}")
    rows += [
        "gone.wav,banjo,1-7-A.ogg,train",
        "broken.wav,flute,2-7-A.ogg,train",
        "piano/a1-2.wav,piano,a1-2.wav,train",
    ]
    (folder / "broken.wav").write_text("no sound at all")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder


def evaluate(model: Path, folder: Path, *options: str) -> int:
    return main(
        [
            "eval",
            "--protocol",
            "esc10",
            "--annotations",
            str(folder / "list.csv"),
            "--media",
            str(folder),
            str(model),
            *options,
        ]
    )


@pytest.mark.parametrize(
    ("row", "clip"),
    [
        (
            "a/esc10_3-100032-B.ogg,dog,001 - Dog bark/3-100032-B.ogg,train,",
            Clip(key="a/esc10_3-100032-B.ogg", label="dog", fold=3, recording="100032", part="train"),
        ),
        ("esc10_5-1-A.ogg,rain,,,", Clip(key="esc10_5-1-A.ogg", label="rain", fold=5, recording="1")),
        ("1-100032-A-0.wav,dog,,,True", Clip(key="1-100032-A-0.wav", label="dog", fold=1, recording="100032")),
        ("1-100032-A-0.wav,dog,,,False", None),  # of ESC-50's other classes
        ("6-100032-A.ogg,dog,,,", None),  # there are five folds
        ("1-100032.ogg,dog,,,", None),
        ("1-100032-A.ogg,dog,drums/hit.wav,,", None),  # its original name is another
    ],
)
def test_clips_are_known_by_their_original_names(tmp_path: Path, row: str, clip: Clip | None) -> None:
    (tmp_path / "list.csv").write_text(f"file,class,path,split,esc10\n{row}\n1-999-A.ogg,dog,,,\n")
    listed = read_clips(tmp_path / "list.csv")
    assert listed.clips[:-1] == ([] if clip is None else [clip])
    assert listed.others == (clip is None)


def test_the_list_of_esc50_is_read(tmp_path: Path) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take", "1-100032-A-0.wav,1,0,dog,True,100032,A"]
    (tmp_path / "esc50.csv").write_text("\n".join([*lines, "1-100038-A-14.wav,1,14,chirping_birds,False,100038,A"]))
    listed = read_clips(tmp_path / "esc50.csv")
    assert [(clip.label, clip.fold) for clip in listed.clips] == [("dog", 1)]
    assert listed.others == 1


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("file,label\n1-1-A.ogg,dog\n", "lacks the columns file and class"),
        ("", "lacks the columns"),
        ("file,class\npiano.wav,piano\n", "names no clip of ESC-10"),
        ("file,class\n1-1-A.ogg,dog\nb/1-1-A.ogg,dog\n", "1-1-A is there twice"),
        ("file,class\n" + "".join(f"1-{n}-A.ogg,class{n}\n" for n in range(11)), "11 classes, ESC-10 has ten"),
        ('file,class\n"1-1-A.ogg,dog\n', "not a readable list"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, text: str, fact: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(AvolError, match=fact) as caught:
        read_clips(tmp_path / "list.csv")
    assert "\n" not in str(caught.value)
    with pytest.raises(AvolError, match="not a readable list"):
        read_clips(tmp_path)


def test_figures_stand_beside_their_controls_and_nothing_is_replaced(
    checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, folder, "--json", str(tmp_path / "result.json")) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    said = capsys.readouterr().out
    assert record["samples"] == {
        "annotated": 14,
        "used": 12,
        "missing": 1,
        "unusable": 1,
        "padded_with_silence": 1,
        "rows_of_other_sounds": 1,
    }
    assert [item["key"] for item in record["missing"] + record["unusable"]] == ["gone.wav", "broken.wav"]
    table = record["tables"][TITLE]
    assert list(table) == [MEAN, *(f"fold {fold}" for fold in FOLDS), "clips of the list's test part"]
    for row in table.values():
        assert list(row) == [NETWORK, UNTRAINED, SPECTROGRAM, COMMONEST]
    # All rows of the spectrogram tell noise from none, and so does any network; no class is commoner.
    assert table[MEAN][SPECTROGRAM]["value"] == table[MEAN][NETWORK]["value"] == 1.0
    assert table[MEAN][COMMONEST]["value"] == 0.5
    assert table[MEAN][NETWORK]["count"] == 12
    assert table["fold 1"][NETWORK]["count"] == table["clips of the list's test part"][NETWORK]["count"] == 4
    assert record["model"]["layer"] == "embedding"
    untrained = {f"{UNTRAINED} {seed}" for seed in UNTRAINED_SEEDS}
    assert record["penalties"].keys() == {NETWORK, SPECTROGRAM} | untrained
    assert any("not comparable" in note for note in record["notes"])
    assert "14 annotated, 12 used, 1 missing, 1 unusable" in said
    assert "layer embedding (128 numbers)" in said


def test_the_layer_before_and_an_exported_model(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, folder, "--layer", "pooled") == 0
    assert "layer pooled (64 numbers), torch-cpu fp32" in capsys.readouterr().out
    assert evaluate(bundled_model_folder(), folder) == 0
    assert "layer embedding (128 numbers), onnxruntime-cpu fp32" in capsys.readouterr().out
    assert evaluate(bundled_model_folder(), folder, "--layer", "pooled") == 1
    assert "gives its embedding alone" in capsys.readouterr().err
    assert evaluate(checkpoint, folder, "--precision", "int8") == 1
    assert "a checkpoint computes in fp32" in capsys.readouterr().err


def test_a_folder_without_the_clips(
    checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "--protocol", "esc10", "--annotations", str(folder / "list.csv"), "--media", str(tmp_path)]
    assert main([*arguments, str(checkpoint)]) == 1
    assert "holds none of the 14 clips" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--controls-only"], ["--protocol", "boxes", "--layer", "pooled"]])
def test_options_that_do_not_go_together(folder: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate(folder, folder, *options)
    assert ended.value.code == 2


@pytest.mark.shared
def test_the_shared_list_holds_all_of_esc10(shared_data: Path) -> None:
    listed = read_clips(shared_data / "audio.csv")
    assert len(listed.clips) == 400
    counts = {(clip.fold, clip.label) for clip in listed.clips}
    assert len(counts) == 50
    assert all(sum((clip.fold, clip.label) == cell for clip in listed.clips) == 8 for cell in counts)
    folds = {}
    assert all(folds.setdefault(clip.recording, clip.fold) == clip.fold for clip in listed.clips)
