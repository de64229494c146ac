"""``avol eval --protocol``: a published evaluation, every figure beside its controls."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

PROTOCOLS = ("vggss", "flickr", "audioset-instruments", "music-solo", "music-duet", "boxes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol eval`` that belong to protocols."""
    group = parser.add_argument_group("published protocols")
    group.add_argument("--protocol", choices=PROTOCOLS, help="measure on annotated media instead of labelled DATA")
    group.add_argument("--annotations", type=Path, metavar="PATH", help="file (flickr: folder) with the boxes")
    group.add_argument("--media", type=Path, metavar="DIR", help="folder with the media that the annotations name")
    group.add_argument(
        "--controls-only", action="store_true", help="what needs neither model nor media: disc, frame, best possible"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; gives the exit code."""
    from avol.runtime.atomic import AtomicOutput
    from avol.train.protocols.collect import collect
    from avol.train.protocols.measure import measure, measure_controls
    from avol.train.protocols.media import MediaFolder
    from avol.train.protocols.model import open_model
    from avol.train.protocols.readers import read_annotations
    from avol.train.protocols.report import as_record, as_text

    _check(arguments)
    output = None if arguments.json is None else AtomicOutput(arguments.json)  # a mistake shows before the work
    annotations = read_annotations(arguments.protocol, arguments.annotations)
    if arguments.controls_only:
        collected = model = None
        measured = measure_controls(annotations.samples)
    else:
        folder = MediaFolder(arguments.media)
        model = open_model(arguments.model, arguments.precision)
        collected = collect(annotations, folder, model.spec)
        measured = measure(collected, model)
    print("\n".join(as_text(annotations, measured, collected, model)))
    if output is not None:
        _write(output, as_record(annotations, measured, collected, model))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.annotations is None:
        raise argparse.ArgumentError(None, "--protocol needs --annotations")
    if arguments.data:
        raise argparse.ArgumentError(None, "--protocol takes no DATA; name the media with --media")
    if arguments.controls_only:
        if arguments.model is not None or arguments.media is not None:
            raise argparse.ArgumentError(None, "--controls-only takes neither a model nor --media")
    elif arguments.model is None or arguments.media is None:
        raise argparse.ArgumentError(None, "--protocol needs a MODEL and --media, or --controls-only")


def _write(output: Any, record: dict[str, Any]) -> None:  # noqa: ANN401 (an AtomicOutput, imported late)
    import json

    from avol.runtime.atomic import write_error

    with output:
        try:
            output.temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise write_error(output.path, error) from None
        output.commit()
