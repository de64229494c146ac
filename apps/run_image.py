"""``avol run --image PICTURE --audio SOUND``: a picture with the heat over it, and a timeline of the sound."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from avol.apps.run_console import folder_for_results, say
from avol.apps.run_inputs import Input, refuse_collisions, result_path
from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import av

    from avol.runtime.atomic import AtomicOutput
    from avol.runtime.backends.backend import Backend
    from avol.runtime.timeline import TimelineFrame

LONGEST_SECONDS = 3600.0  # a sound is held in memory


def check_image(arguments: argparse.Namespace) -> None:
    """What does not go with ``--image``.

    Raises:
        argparse.ArgumentError: such an option is there.
    """
    if arguments.videos or arguments.live is not None:
        raise argparse.ArgumentError(None, "--image stands alone: without videos and without --live")
    if arguments.audio is None:
        raise argparse.ArgumentError(None, "--image needs a sound: --audio")


def run_image(arguments: argparse.Namespace, backend: Backend) -> int:
    """Localise, write both results or neither, and say what was found; gives the exit code.

    Raises:
        AvolError: an input is unusable or an output cannot be written.
    """
    from avol.runtime.localiser import Localiser
    from avol.runtime.results import refuse_foreign
    from avol.runtime.still import localise_still, read_samples, read_still
    from avol.runtime.system import AvolNetSystem

    started = time.monotonic()
    entry = Input(arguments.image)
    timeline_out: Path = arguments.json or result_path(entry, arguments.output_dir, f".{arguments.format}")
    picture_out = None if arguments.no_video else result_path(entry, arguments.output_dir, ".png")
    outputs = [path for path in (picture_out, timeline_out) if path is not None]
    refuse_collisions({arguments.image: outputs, arguments.audio: []})
    refuse_foreign(outputs)
    picture = read_still(arguments.image)
    samples = read_samples(arguments.audio, backend.spec.spectrogram.sample_rate_hz, _refuse_long(arguments.audio))
    localiser = Localiser(system=AvolNetSystem(backend), threshold=arguments.threshold)
    found = localise_still(localiser, picture, samples, arguments.rate)
    best = max(found, key=lambda entry: entry.score)
    duration_seconds = len(samples) / backend.spec.spectrogram.sample_rate_hz
    head = _head(arguments, backend, picture, duration_seconds, localiser.threshold)
    _write(arguments, head, found, timeline_out, picture_out, picture, best)
    if not arguments.quiet:
        verdict = f"surest at {best.time_seconds:.2f} s" if best.sounding else "not a source of this sound"
        say(
            f"{arguments.image}: score {best.score:.2f}, {verdict}; {len(found)} analyses of {duration_seconds:.1f} s "
            f"in {time.monotonic() - started:.1f} s, {backend.description} -> {' and '.join(map(str, outputs))}"
        )
    return 0


def _write(
    arguments: argparse.Namespace,
    head: dict[str, dict[str, object]],
    found: Sequence[TimelineFrame],
    timeline_out: Path,
    picture_out: Path | None,
    picture: av.VideoFrame,
    best: TimelineFrame,
) -> None:
    import contextlib

    from avol.runtime.atomic import AtomicOutput, commit_all
    from avol.runtime.timeline_formats import open_timeline

    with contextlib.ExitStack() as stack:
        for folder in {path.parent for path in (timeline_out, picture_out) if path is not None}:
            stack.enter_context(folder_for_results(folder))
        outputs = [stack.enter_context(AtomicOutput(timeline_out))]
        with open_timeline(
            outputs[0].temporary, arguments.format, maps=arguments.maps, shown_as=timeline_out, **head
        ) as timeline:
            for entry in found:
                timeline.write(entry)
        if picture_out is not None:
            outputs.append(stack.enter_context(AtomicOutput(picture_out)))
            _write_picture(outputs[-1], _drawn(arguments, picture, best))
        commit_all(*outputs)


def _drawn(arguments: argparse.Namespace, picture: av.VideoFrame, best: TimelineFrame) -> av.VideoFrame:
    from avol.runtime.styles import Painter, StyleOptions

    options = StyleOptions(
        style=arguments.style, colour_map=arguments.colormap, opacity=arguments.opacity, legend=arguments.legend
    )
    return Painter(options).draw(picture, best.map if best.sounding else None, best.box)


def _write_picture(output: AtomicOutput, drawn: av.VideoFrame) -> None:
    import cv2

    from avol.runtime.atomic import write_error

    pixels = drawn.to_ndarray(format="bgr24")
    encoded, data = cv2.imencode(".png", pixels)
    assert encoded  # an array of bytes always can be
    try:
        output.temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise write_error(output.path, error) from None


def _head(
    arguments: argparse.Namespace,
    backend: Backend,
    picture: av.VideoFrame,
    duration_seconds: float,
    threshold: float,
) -> dict[str, dict[str, object]]:
    """As of a video, whose one picture is shown while the sound lasts; zero is the sound's beginning."""
    from avol.runtime.pipeline import head_of_model

    return {
        "source": {
            "path": str(arguments.image),
            "audio_path": str(arguments.audio),
            "duration_seconds": round(duration_seconds, 6),
            "width": picture.width,
            "height": picture.height,
            "frame_rate": arguments.rate,
            "audio_sample_rate": backend.spec.spectrogram.sample_rate_hz,
        },
        **head_of_model(backend.spec, backend, rate_hz=arguments.rate, threshold=threshold),
    }


def _refuse_long(path: Path) -> Callable[[float], None]:
    def check(seconds: float) -> None:
        if seconds > LONGEST_SECONDS:
            raise AvolError(f"{path}: longer than {LONGEST_SECONDS / 60:.0f} minutes; give a part of it for a picture.")

    return check
