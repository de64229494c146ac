"""Read the annotations of a protocol as they are published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from avol.runtime.errors import AvolError
from avol.train.data.split import video_id_of
from avol.train.metrics import Box
from avol.train.protocols.box_list import read_box_list
from avol.train.protocols.samples import AnnotatedSample, Annotations, BoxMender, Source, is_numbers

CLIP_MIDDLE_SECONDS = 5.0  # of the ten-second clips of VGGSound, whose middle frame was annotated
SECOND_MIDDLE = 0.5  # frames named by their second were taken within it
FLICKR_PIXELS = 256  # side of the pictures that the annotators saw
FLICKR_BOX_WEIGHT = 0.5
DUET_SOURCES = 2


def read_annotations(protocol: str, path: Path) -> Annotations:
    """Read the annotations of a protocol.

    Args:
        protocol: one of :data:`PROTOCOLS`.
        path: a file; a folder for ``flickr``.

    Raises:
        AvolError: it cannot be read, or is not what the protocol says.
    """
    annotations = PROTOCOLS[protocol](path)
    if not annotations.samples:
        raise AvolError(f"{path}: names no annotated picture; give the annotations of {protocol}.")
    return replace(annotations, protocol=protocol)


def read_vggss(path: Path) -> Annotations:
    """VGG-SS (Chen et al., CVPR 2021): a JSON list of ``{"file", "class", "bbox": [[x0, y0, x1, y1], ...]}``.

    ``file`` is ``VIDEO_SECONDS`` of a ten-second clip; the box is of its middle. Boxes are clipped; samples whose boxes
    have no area remain, and count as not found.
    """
    entries, digest = _read_json(path)
    if not isinstance(entries, list):
        raise AvolError(f"{path}: not a list of annotated clips; give vggss.json as it was published.")
    mender, samples, seen = BoxMender(), [], set[str]()
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        key, label, boxes = (_field(entry, name, kind, where) for name, kind in _VGGSS_FIELDS)
        if key in seen:
            raise AvolError(f"{path}: {key} is there twice; keep one of them.")
        seen.add(key)
        mended = tuple(box for values in boxes for box in mender.mend(values, f"{where} ({key})"))
        source = Source(boxes=mended, label=label)
        samples.append(
            AnnotatedSample(key=key, time_seconds=CLIP_MIDDLE_SECONDS, sources=(source,), group=video_id_of(key))
        )
    empty = sum(not sample.boxes for sample in samples)
    return _annotations(path, digest, samples, mender, without_box=empty)


def read_flickr(folder: Path) -> Annotations:
    """Flickr-SoundNet (Senocak et al., CVPR 2018): a folder with ``KEY.xml`` per picture, a box per annotator.

    A ``bbox`` element holds x0, y0, x1, y1 in pixels of 256 x 256 as its last four children. A pixel that two
    annotators marked counts fully, one that a single annotator marked by half.
    """
    if not folder.is_dir():
        raise AvolError(f"{folder}: not a folder; give the one that holds an XML file per picture.")
    mender, samples, digest, empty = BoxMender(), [], hashlib.sha256(), 0
    for path in sorted(folder.glob("*.xml")):
        try:
            content = path.read_bytes()
            root = ElementTree.fromstring(content)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise AvolError(f"{path}: not readable XML ({error}); copy the annotations again.") from None
        digest.update(path.name.encode() + b"\0" + content)
        boxes: list[Box] = []
        for element in root.iter("bbox"):
            boxes += mender.mend(_pixels(element, path), str(path))
        empty += not boxes
        if boxes:
            source = Source(boxes=tuple(boxes))
            sample = AnnotatedSample(
                key=path.stem, time_seconds=None, sources=(source,), group=path.stem, box_weight=FLICKR_BOX_WEIGHT
            )
            samples.append(sample)
    return _annotations(folder, digest.hexdigest(), samples, mender, without_box=empty)


def read_audioset_instruments(path: Path) -> Annotations:
    """AudioSet-Instruments (Hu et al., NeurIPS 2020): ``{"VIDEO/SECOND": {"bbox": [{"normbox", "category"}]}}``.

    ``normbox`` is x, y, width, height as fractions of the frame; the second counts from the start of the clip that was
    cut out of the video. Frames without a box are left out.
    """
    return _read_frames(path, "category")


def read_music_solo(path: Path) -> Annotations:
    """MUSIC solos (Hu et al., NeurIPS 2020): frames called ``CLIP/frame_SECOND/NUMBER.jpg``, with ``category_id``.

    Otherwise as :func:`read_audioset_instruments`.
    """
    return _read_frames(path, "category_id")


def read_music_duet(path: Path) -> Annotations:
    """MUSIC duets, in the format of the solos: every category in a frame is a source; both are heard in one sound.

    Frames in which one of the two is not to be seen are left out and counted among those without a box.
    """
    annotations = _read_frames(path, "category_id")
    duets = [sample for sample in annotations.samples if len(sample.sources) == DUET_SOURCES]
    left_out = len(annotations.samples) - len(duets)
    return replace(annotations, samples=duets, without_box=annotations.without_box + left_out)


PROTOCOLS: dict[str, Callable[[Path], Annotations]] = {
    "vggss": read_vggss,
    "flickr": read_flickr,
    "audioset-instruments": read_audioset_instruments,
    "music-solo": read_music_solo,
    "music-duet": read_music_duet,
    "boxes": read_box_list,
}
_VGGSS_FIELDS: tuple[tuple[str, type], ...] = (("file", str), ("class", str), ("bbox", list))


def _read_frames(path: Path, category: str) -> Annotations:
    entries, digest = _read_json(path)
    if not isinstance(entries, dict):
        raise AvolError(f"{path}: not an object of annotated frames; give the file as it was published.")
    mender, samples, empty = BoxMender(), [], 0
    for name, entry in entries.items():
        where = f"{path}: {name}"
        clip, second = _clip_and_second(name, where)
        boxes: dict[str, list[Box]] = {}
        for item in _field(entry, "bbox", list, where):
            values, number = _field(item, "normbox", list, where), _field(item, category, int, where)
            if not is_numbers(values, 4):
                raise AvolError(f"{where}: a box is {str(values)[:80]}, not four finite numbers; mend the file.")
            x, y, width, height = values
            boxes.setdefault(f"category {number}", []).extend(mender.mend([x, y, x + width, y + height], where))
        sources = tuple(Source(boxes=tuple(own), label=label) for label, own in sorted(boxes.items()) if own)
        empty += not sources
        if sources:
            samples.append(
                AnnotatedSample(key=clip, time_seconds=second + SECOND_MIDDLE, sources=sources, group=video_id_of(clip))
            )
    return _annotations(path, digest, samples, mender, without_box=empty)


def _clip_and_second(name: str, where: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?P<clip>[^/]+)/(?:frame_)?(?P<second>\d{1,6})(?:/[^/]*)?", name)
    if match is None:
        raise AvolError(f"{where}: not the name of a frame (CLIP/SECOND); give the file as it was published.")
    return match["clip"], int(match["second"])


def _pixels(element: ElementTree.Element, path: Path) -> list[float]:
    try:
        return [float(child.text or "") / FLICKR_PIXELS for child in list(element)[-4:]]
    except ValueError:
        raise AvolError(f"{path}: a box holds no numbers; copy the annotations again.") from None


def _annotations(
    path: Path, digest: str, samples: list[AnnotatedSample], mender: BoxMender, *, without_box: int
) -> Annotations:
    return Annotations(
        protocol="",
        path=path,
        sha256=digest,
        samples=samples,
        clipped=mender.clipped,
        dropped=mender.dropped,
        without_box=without_box,
    )


def _read_json(path: Path) -> tuple[Any, str]:
    """The value in a JSON file, and the hash of the file."""

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice!r} is there twice")
        return values

    try:
        content = path.read_bytes()
        return json.loads(content, object_pairs_hook=without_duplicates), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise AvolError(f"{path}: cannot be read ({error.strerror}); name the annotations of the protocol.") from None
    except (ValueError, RecursionError) as error:
        raise AvolError(f"{path}: not usable JSON ({error}); copy the annotations again.") from None


def _field(entry: object, name: str, kind: type, where: str) -> Any:  # noqa: ANN401 (JSON)
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise AvolError(f"{where}: has no {name} of the kind {kind.__name__}; give the file as it was published.")
    return value
