"""Names on the command line: files, folders, patterns; what avol wrote itself; names that would collide."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.apps.run_inputs import Input, find_videos, is_result, refuse_collisions, result_path
from avol.runtime.errors import AvolError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_of(folder: Path, *arguments: str, recursive: bool = False) -> list[str]:
    found = find_videos([folder / argument for argument in arguments], recursive=recursive)
    return [entry.video.relative_to(folder).as_posix() for entry in found.inputs]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    touch(
        tmp_path, "b.MP4", "a.mov", "notes.txt", ".hidden.mp4", "a.avol.mp4", "a.avol.json", "in/c.webm", "in/.x/d.mp4"
    )
    return tmp_path


def test_a_folder_gives_its_videos_in_order(tree: Path) -> None:
    assert names_of(tree, ".") == ["a.mov", "b.MP4"]
    assert names_of(tree, ".", recursive=True) == ["a.mov", "b.MP4", "in/c.webm"]


def test_other_kinds_of_files_are_known_by_other_suffixes(tree: Path) -> None:
    touch(tree, "in/z.WAV", "y.png")
    found = find_videos([tree], recursive=True, suffixes=frozenset({".wav", ".png"}), kind="media")
    assert [entry.video.name for entry in found.inputs] == ["y.png", "z.WAV"]
    with pytest.raises(AvolError, match=r"no media in this folder \(\.flac\)"):
        find_videos([tree], suffixes=frozenset({".flac"}), kind="media")


def test_results_are_passed_over_and_counted(tree: Path) -> None:
    found = find_videos([tree, tree / "a.avol.json"])
    assert [entry.video.name for entry in found.inputs] == ["a.mov", "b.MP4"]
    assert found.results_passed_over == 2
    with pytest.raises(AvolError, match="nothing but results of avol"):
        find_videos([tree / "a.avol.mp4"])


def test_a_pattern_is_expanded_where_the_shell_did_not(tree: Path) -> None:
    assert names_of(tree, "*.mov") == ["a.mov"]
    assert names_of(tree, "**/*.webm") == ["in/c.webm"]
    touch(tree, "odd[1].mp4")
    assert names_of(tree, "odd[1].mp4") == ["odd[1].mp4"]
    with pytest.raises(AvolError, match=r"\*\.avi: no file has a name like this"):
        names_of(tree, "*.avi")


def test_a_missing_file_stays_and_fails_alone(tree: Path) -> None:
    assert names_of(tree, "a.mov", "gone.mp4") == ["a.mov", "gone.mp4"]


def test_each_file_once(tree: Path) -> None:
    (tree / "link.mp4").symlink_to(tree / "b.MP4")
    assert names_of(tree, "a.mov", "b.MP4", ".", "link.mp4") == ["a.mov", "b.MP4"]


def test_a_folder_without_videos_says_what_to_do(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(AvolError, match=r"no videos in this folder .*--recursive"):
        find_videos([tree / "empty"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read(tree: Path) -> None:
    (tree / "in").chmod(0)
    try:
        with pytest.raises(AvolError, match="cannot be read"):
            find_videos([tree], recursive=True)
    finally:
        (tree / "in").chmod(0o755)


def test_results_keep_the_folders_below(tree: Path) -> None:
    found = find_videos([tree], recursive=True).inputs[-1]
    assert result_path(found, None, ".json") == tree / "in" / "c.avol.json"
    assert result_path(found, Path("out"), ".mp4") == Path("out/in/c.avol.mp4")
    assert result_path(Input(tree / "a.mov"), Path("out"), ".mp4") == Path("out/a.avol.mp4")


def test_colliding_results_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "clip.mp4", tmp_path / "clip.mov"
    result = result_path(Input(one), None, ".json")
    with pytest.raises(AvolError, match=r"clip\.avol\.json: would be written for .*clip\.mov and for .*clip\.mp4"):
        refuse_collisions({one: [result], other: [result_path(Input(other), None, ".json")]})
    with pytest.raises(AvolError, match="is the input"):
        refuse_collisions({one: [one]})
    with pytest.raises(AvolError, match="would be written for"):
        refuse_collisions({one: [other], other: []})
    refuse_collisions({one: [result], other: [tmp_path / "else.json"]})


@given(
    st.from_regex(r"[a-z.]{1,8}", fullmatch=True).filter(lambda name: name.strip(".")),
    st.sampled_from([".mp4", ".json"]),
)
def test_what_avol_names_is_known_as_its_result(stem: str, suffix: str) -> None:
    assert is_result(result_path(Input(Path(f"{stem}.mkv")), None, suffix))
    assert not is_result(Path("clip.mp4"))
