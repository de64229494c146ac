"""``avol eval --protocol``: a published evaluation, every figure beside its controls."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avol.runtime.embedder import Embedder

ESC10 = "esc10"
PLACES = ("vggss", "flickr", "audioset-instruments", "music-solo", "music-duet", "boxes")
PROTOCOLS = (*PLACES, ESC10)
LAYERS = ("embedding", "pooled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol eval`` that belong to protocols."""
    group = parser.add_argument_group("published protocols")
    group.add_argument("--protocol", choices=PROTOCOLS, help="measure on annotated media instead of labelled DATA")
    group.add_argument("--annotations", type=Path, metavar="PATH", help="file (flickr: folder) with the boxes or clips")
    group.add_argument("--media", type=Path, metavar="DIR", help="folder with the media that the annotations name")
    group.add_argument(
        "--controls-only", action="store_true", help="what needs neither model nor media: disc, frame, best possible"
    )
    group.add_argument(
        "--layer", choices=LAYERS, help="that esc10 probes: embedding (default), or of a checkpoint what it is made of"
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
    if arguments.protocol == ESC10:
        return _run_esc10(arguments)
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


def _run_esc10(arguments: argparse.Namespace) -> int:
    from avol.runtime.atomic import AtomicOutput
    from avol.train.protocols.esc10 import describe, measure_probes
    from avol.train.protocols.esc10_list import read_clips
    from avol.train.protocols.esc10_report import esc10_record, esc10_text
    from avol.train.protocols.media import MediaFolder

    layer = arguments.layer or LAYERS[0]
    output = None if arguments.json is None else AtomicOutput(arguments.json)
    listed, folder = read_clips(arguments.annotations), MediaFolder(arguments.media)
    with contextlib.ExitStack() as stack:
        embedder = _embedder(arguments.model, arguments.precision, layer, stack)
        found = describe(listed, folder, embedder.spec, embedder.sounds, layer)
    measured, penalties = measure_probes(found, embedder.spec)
    probed = {"layer": layer, "backend": embedder.backend, "precision": embedder.precision}
    print("\n".join(esc10_text(listed, found, measured, embedder.spec, probed)))
    if output is not None:
        _write(output, esc10_record(listed, found, measured, penalties, embedder.spec, probed))
    return 0


def _embedder(model: Path, precision: str, layer: str, stack: contextlib.ExitStack) -> Embedder:
    from avol.runtime.embedder import open_embedder
    from avol.runtime.errors import AvolError
    from avol.runtime.model_folder import is_exported
    from avol.train.embedder import open_checkpoint_embedder

    if not is_exported(model):
        if precision != "fp32":
            raise AvolError(
                f"{model}: a checkpoint computes in fp32; name the folder of an exported model for {precision}."
            )
        return open_checkpoint_embedder(model, layer)
    if layer != LAYERS[0]:
        raise AvolError(
            f"{model}: an exported model gives its embedding alone; name its checkpoint for --layer {layer}."
        )
    return stack.enter_context(open_embedder(model, "cpu", precision))


def _check(arguments: argparse.Namespace) -> None:
    if arguments.annotations is None:
        raise argparse.ArgumentError(None, "--protocol needs --annotations")
    if arguments.protocol == ESC10 and arguments.controls_only:
        raise argparse.ArgumentError(None, "--controls-only does not go with esc10: its controls hear the media")
    if arguments.protocol != ESC10 and arguments.layer is not None:
        raise argparse.ArgumentError(None, "--layer goes with --protocol esc10")
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
