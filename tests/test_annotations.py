"""Annotations as they are published, and as they must be refused; and the media that they name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.apps.eval_protocol import PLACES
from avol.runtime.errors import AvolError
from avol.train.protocols.media import Media, MediaFolder
from avol.train.protocols.readers import PROTOCOLS, read_annotations
from avol.train.protocols.samples import Annotations

CLIP = {"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[0.4, 0.25, 0.6, 0.75]]}
FRAME = {"bbox": [{"category": 2, "category_id": 2, "normbox": [0.1, 0.2, 0.3, 0.4]}]}
HEADER = "file,time_seconds,x0,y0,x1,y1"


def read(folder: Path, protocol: str, content: Any) -> Annotations:
    path = folder / "annotations"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_annotations(protocol, path)


def refusal(folder: Path, protocol: str, content: Any) -> str:
    """The one line that refuses some content."""
    with pytest.raises(AvolError) as caught:
        read(folder, protocol, content)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_the_command_knows_the_protocols() -> None:
    assert set(PLACES) == set(PROTOCOLS)


def test_vggss(tmp_path: Path) -> None:
    far = [0.4, 0.5, 0.7, -2.8823037615171176e16]
    entries = [
        CLIP,
        CLIP | {"file": "zpWuikVorYg_000050", "bbox": [far, [-0.1, 0, 0.5, 1.2]]},
        CLIP | {"file": "gEvCUcZ6w88_000030", "bbox": [far]},
    ]
    annotations = read(tmp_path, "vggss", entries)
    first, second, third = annotations.samples
    assert (first.key, first.label, first.time_seconds) == ("zpWuikVorYg_000032", "elk bugling", 5.0)
    assert first.boxes == ((0.4, 0.25, 0.6, 0.75),)
    assert first.group == second.group != third.group  # one video
    assert second.boxes == ((0.0, 0.0, 0.5, 1.0),)
    assert third.boxes == ()  # it remains, and counts as not found
    assert (annotations.clipped, annotations.dropped, annotations.without_box) == (3, 2, 1)
    assert first.weights(4).sum() == 2  # columns 1.6 to 2.4 and rows 1 to 3 of four


def test_flickr(tmp_path: Path) -> None:
    box = "<bbox><annotator>{}</annotator><xmin>0</xmin><ymin>0</ymin><xmax>128</xmax><ymax>{}</ymax></bbox>"
    (tmp_path / "1000.xml").write_text(f"<a><o>{box.format('anna', 256)}</o><o>{box.format('ben', 128)}</o></a>")
    (tmp_path / "2000.xml").write_text("<a></a>")
    annotations = read_annotations("flickr", tmp_path)
    (sample,) = annotations.samples
    assert (sample.key, sample.time_seconds, annotations.without_box) == ("1000", None, 1)
    # The upper left quarter was marked by both, the lower left one by one of the two.
    assert sample.weights(2).tolist() == [[1.0, 0.0], [0.5, 0.0]]


@pytest.mark.parametrize("protocol", ["audioset-instruments", "music-solo"])
def test_frames_named_by_their_second(tmp_path: Path, protocol: str) -> None:
    names = ("8LYWfpPUokc/3", "empty000000/1") if protocol == "audioset-instruments" else (
        "HnUOaSfTA6c_0_1000/frame_175/05257.jpg",
        "HnUOaSfTA6c_0_1000/frame_002/00061.jpg",
    )  # fmt: skip
    annotations = read(tmp_path, protocol, {names[0]: FRAME, names[1]: {"bbox": []}})
    (sample,) = annotations.samples
    assert sample.key == names[0].split("/")[0]
    assert sample.time_seconds == (3.5 if protocol == "audioset-instruments" else 175.5)
    assert sample.boxes[0] == pytest.approx((0.1, 0.2, 0.4, 0.6))
    assert (sample.label, annotations.without_box) == ("category 2", 1)
    assert sample.group == names[0][:11]


def test_duets_have_two_sources(tmp_path: Path) -> None:
    other = {"category_id": 5, "normbox": [0.5, 0.5, 0.25, 0.25]}
    content = {"HnUOaSfTA6c_0_1000/frame_001/1.jpg": {"bbox": [*FRAME["bbox"], other]}, "c/frame_2/1.jpg": FRAME}
    annotations = read(tmp_path, "music-duet", content)
    (sample,) = annotations.samples
    assert [source.label for source in sample.sources] == ["category 2", "category 5"]
    assert annotations.without_box == 1  # one of two is not to be seen


def test_list_of_boxes(tmp_path: Path) -> None:
    rows = [
        f"{HEADER},class,source,sound,sound_seconds,video_id",
        "a.mp4,1.5,0,0,0.5,1,dog,left,bark.wav,,v",
        "a.mp4,1.5,0.5,0,1,1,cat,right,meow,2.25,v",
        "a.mp4,1.5,0.5,0,0.75,1,cat,right,meow,2.25,v",
        "b,,0,0,1,1,,,,,",
    ]
    two, one = read(tmp_path, "boxes", "\n".join(rows)).samples
    assert (two.key, two.time_seconds, two.group, two.label) == ("a.mp4", 1.5, "v", "dog + cat")
    left, right = two.sources
    assert (left.sound_key, left.sound_seconds, right.sound_key, right.sound_seconds) == (
        "bark.wav",
        None,
        "meow",
        2.25,
    )
    assert (len(left.boxes), len(right.boxes)) == (1, 2)
    assert (one.time_seconds, one.sources[0].sound_key, one.group) == (None, None, "b")


HOSTILE: list[tuple[str, Any, str]] = [
    ("vggss", b"\xff\xfe", "not usable JSON"),
    ("vggss", "[", "not usable JSON"),
    ("vggss", "[" * 100_000, "not usable JSON"),
    ("vggss", {}, "not a list"),
    ("vggss", [], "no annotated picture"),
    ("vggss", [3], "entry 0: has no file"),
    ("vggss", [{"file": "a", "class": "b"}], "has no bbox"),
    ("vggss", [CLIP | {"file": 7}], "has no file"),
    ("vggss", [CLIP | {"bbox": [[0.1, 0.2, 0.3]]}], "not four finite numbers"),
    ("vggss", [CLIP | {"bbox": [[0.1, 0.2, 0.3, float("nan")]]}], "not four finite numbers"),
    ("vggss", [CLIP | {"bbox": [[0.1, 0.2, 0.3, float("inf")]]}], "not four finite numbers"),
    ("vggss", [CLIP | {"bbox": [[0.1, 0.2, 0.3, True]]}], "not four finite numbers"),
    ("vggss", [CLIP | {"bbox": [["0", "0", "1", "1"]]}], "not four finite numbers"),
    ("vggss", [CLIP, CLIP], "is there twice"),
    ("audioset-instruments", '{"a/1": {"bbox": []}, "a/1": {"bbox": []}}', "'a/1' is there twice"),
    ("audioset-instruments", [], "not an object"),
    ("audioset-instruments", {"a/1": {"bbox": []}}, "no annotated picture"),
    ("audioset-instruments", {"a": FRAME}, "not the name of a frame"),
    ("audioset-instruments", {"a/x": FRAME}, "not the name of a frame"),
    ("audioset-instruments", {"a/1": {}}, "has no bbox"),
    ("audioset-instruments", {"a/1": {"bbox": [{"category": 1}]}}, "has no normbox"),
    ("audioset-instruments", {"a/1": {"bbox": [{"normbox": [0, 0, 1, 1]}]}}, "has no category"),
    ("audioset-instruments", {"a/1": {"bbox": [{"category": 1, "normbox": [0, 0, 1]}]}}, "not four finite numbers"),
    ("boxes", "", "has no column file"),
    ("boxes", b"\xff\xfe\x00", "not a readable list"),
    ("boxes", "file,x0,y0,x1,y1\na,0,0,1,1\n", "has no column time_seconds"),
    ("boxes", f"{HEADER},x0\na,1,0,0,1,1,0\n", "the column x0 twice"),
    ("boxes", f"{HEADER}\n", "no annotated picture"),
    ("boxes", f"{HEADER}\na,1,0,0,1\n", "not four numbers"),
    ("boxes", f"{HEADER}\na,1,0,0,1,1,9\n", "more fields than columns"),
    ("boxes", f"{HEADER}\n,1,0,0,1,1\n", "no file"),
    ("boxes", f"{HEADER}\na,1,0,0,120,80\n", "not inside the frame"),
    ("boxes", f"{HEADER}\na,1,0.5,0,0.5,1\n", "not inside the frame"),
    ("boxes", f"{HEADER}\na,1,0,0,nan,1\n", "not inside the frame"),
    ("boxes", f"{HEADER}\na,-1,0,0,1,1\n", "not a number of seconds"),
    ("boxes", f"{HEADER}\na,nan,0,0,1,1\n", "not a number of seconds"),
    ("boxes", f"{HEADER}\na,soon,0,0,1,1\n", "not a number of seconds"),
    ("boxes", f"{HEADER}\na,1,0,0,1,1\na,1,0,0,1,1\n", "the same box is there twice"),
    ("boxes", f"{HEADER},class\na,1,0,0,1,1,dog\na,1,0,0,0.5,1,cat\n", "class differs"),
    ("boxes", f"{HEADER},source\na,1,0,0,1,1,p\na,1,0,0,1,1,q\na,1,0,0,1,1,r\n", "has 3 sources"),
]


@pytest.mark.parametrize(("protocol", "content", "fact"), HOSTILE)
def test_hostile_annotations_are_refused_in_one_line(tmp_path: Path, protocol: str, content: Any, fact: str) -> None:
    assert fact in refusal(tmp_path, protocol, content)


def test_annotations_that_are_not_there(tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        with pytest.raises(AvolError, match="none"):
            read_annotations(protocol, tmp_path / "none")


@pytest.mark.parametrize("content", [b"<a>", b"<a><bbox><x>one</x></bbox></a>", b"<a><bbox><x>1</x></bbox></a>", b"\0"])
def test_hostile_xml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.xml").write_bytes(content)
    with pytest.raises(AvolError, match=r"1\.xml"):
        read_annotations("flickr", tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["file", "class", "bbox", "normbox", "category", "a/1"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=values, protocol=st.sampled_from(["vggss", "audioset-instruments", "music-duet"]))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        samples = read(folder, protocol, value).samples
    except AvolError:
        samples = []
    corners = np.array([box for sample in samples for box in sample.boxes]).reshape(-1, 4)
    assert ((corners >= 0) & (corners <= 1)).all()
    assert (corners[:, :2] < corners[:, 2:]).all()


# Media


@pytest.fixture
def media(tmp_path: Path) -> Callable[..., MediaFolder]:
    def make(*names: str) -> MediaFolder:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        return MediaFolder(tmp_path)

    return make


@pytest.mark.parametrize(
    "name",
    [
        "zpWuikVorYg_000032.mp4",
        "deep/er/zpWuikVorYg_32.webm",
        "zpWuikVorYg_32_42.mkv",
        "zpWuikVorYg_32.000_42.000.MP4",
        "zpWuikVorYg_32000_42000.mp4",
    ],
)
def test_a_clip_is_found_under_any_usual_name(media: Callable[..., MediaFolder], tmp_path: Path, name: str) -> None:
    found = media(name, "zpWuikVorYg_000033.mp4", "notes.txt", ".zpWuikVorYg_000034.mp4")
    assert found.find("zpWuikVorYg_000032") == Media(video=tmp_path / name)
    assert found.find("zpWuikVorYg_000034") == "no such file"
    assert found.find("notes") == "no such file"


def test_a_clip_of_a_bare_identifier(media: Callable[..., MediaFolder], tmp_path: Path) -> None:
    found = media("8LYWfpPUokc_30.mp4", "gp1DYuoQH08.mp4", "kFC6E_1-JnQ_1.mp4", "kFC6E_1-JnQ_9.mp4")
    assert found.find("8LYWfpPUokc") == Media(video=tmp_path / "8LYWfpPUokc_30.mp4")
    assert found.find("gp1DYuoQH08") == Media(video=tmp_path / "gp1DYuoQH08.mp4")
    assert found.find("kFC6E_1-JnQ") == "several files: kFC6E_1-JnQ_1, kFC6E_1-JnQ_9"


def test_a_picture_and_its_sound(media: Callable[..., MediaFolder], tmp_path: Path) -> None:
    found = media("frames/1000.jpg", "audio/1000.wav", "frames/2000.jpg", "a/3000.wav", "b/3000.wav")
    assert found.find("1000") == Media(picture=tmp_path / "frames/1000.jpg", sound=tmp_path / "audio/1000.wav")
    assert found.find("2000") == Media(picture=tmp_path / "frames/2000.jpg")
    assert found.find("3000") == "several files: 3000.wav, 3000.wav"


def test_a_path_inside_the_folder_and_none_outside(media: Callable[..., MediaFolder], tmp_path: Path) -> None:
    found = media("inner/a.mp4", "other/a.mp4", "secret.mp4")
    assert found.find("inner/a.mp4") == Media(video=tmp_path / "inner/a.mp4")
    assert found.find("a.mp4") == "several files: a.mp4, a.mp4"
    inner = MediaFolder(tmp_path / "inner")
    assert inner.find("../secret.mp4") == "no such file"
    assert inner.find(str(tmp_path / "secret.mp4")) == "no such file"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match="no such folder"):
        MediaFolder(tmp_path / "none")
