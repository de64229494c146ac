"""Give a model another calibration and threshold, in every file that carries them.

The graphs are edited, not exported anew: an exported folder need not hold its checkpoint, and graphs that were made
from others (in half precision, quantised with material that is not at hand) would be lost. The logit on its way to the
sigmoid gets one factor and one summand, which take the old calibration to the new one; calibrating again changes these
two, so that graphs do not grow. Weights stay what they are, bit for bit, and so does their hash.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from avol.runtime.atomic import AtomicOutput, commit_all, write_error
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE, SPEC_FILE, read_spec
from avol.runtime.spec import SPEC_KEY, Calibration, ModelSpec

SCALE, BIAS = "recalibration.scale", "recalibration.bias"  # names of the factor and the summand in a graph
HEADER_BYTES = 8  # of a safetensors file: the length of the JSON header that follows


def recalibrate(
    model: Path, calibration: Calibration, threshold: float, *, note: str = "", beside: tuple[AtomicOutput, ...] = ()
) -> list[Path]:
    """Write calibration and threshold into a checkpoint, or into all files of a model's folder, or into none.

    Args:
        model: a checkpoint, the folder of an exported model, or of a run.
        calibration: with a scale above 0.
        threshold: 0..1.
        note: what the spec is to say of how it was fitted.
        beside: complete files that get their names together with these.

    Returns:
        The files written, without those beside.

    Raises:
        AvolError: no model there, files that do not belong together, a graph without a sigmoid, or no space.
    """
    contents = _new_contents(model, calibration, threshold, note)
    with contextlib.ExitStack() as stack:
        outputs = []
        for path, content in contents.items():
            output = stack.enter_context(AtomicOutput(path))
            try:
                output.temporary.write_bytes(content)
            except OSError as error:
                raise write_error(path, error) from None
            outputs.append(output)
        commit_all(*outputs, *beside)
    return list(contents)


def engines_of(model: Path) -> list[Path]:
    """Engines in a model's folder: they hold the calibration in compiled form, and have to be built again."""
    return sorted(model.glob("*.plan")) if model.is_dir() else []


def _new_contents(model: Path, calibration: Calibration, threshold: float, note: str) -> dict[Path, bytes]:
    """Every file that carries the spec, with its new content; the spec's own file last."""
    if not model.is_dir():
        return {model: _checkpoint(model, calibration, threshold, note)}
    contents: dict[Path, bytes] = {}
    checkpoint = model / CHECKPOINT_FILE
    if checkpoint.is_file():
        contents[checkpoint] = _checkpoint(checkpoint, calibration, threshold, note)
    if not (model / SPEC_FILE).is_file() and contents:
        return contents  # the folder of a run
    spec = read_spec(model)
    for path in sorted(model.glob("*.onnx")):
        contents[path] = _graph(path, spec, calibration, threshold, note)
    contents[model / SPEC_FILE] = (_changed(spec, calibration, threshold, note).to_json(indent=2) + "\n").encode()
    return contents


def _changed(spec: ModelSpec, calibration: Calibration, threshold: float, note: str) -> ModelSpec:
    training = {**spec.training, "calibration": note} if note else spec.training
    return replace(spec, calibration=calibration, threshold=threshold, training=training)


def _checkpoint(path: Path, calibration: Calibration, threshold: float, note: str) -> bytes:
    """A checkpoint with another spec in its header; the tensors are the same bytes."""
    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:HEADER_BYTES], "little")
        header = json.loads(content[HEADER_BYTES : HEADER_BYTES + length])
        text = header["__metadata__"][SPEC_KEY]
    except OSError as error:
        raise AvolError(f"{path}: cannot be read ({error.strerror}); name a checkpoint of avol train.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AvolError(f"{path}: not a checkpoint of avol train; name one, or a model's folder.") from None
    spec = _changed(ModelSpec.from_json(text, origin=path), calibration, threshold, note)
    header["__metadata__"][SPEC_KEY] = spec.to_json()
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)  # the format wants tensors to start on a multiple of eight
    return len(written).to_bytes(HEADER_BYTES, "little") + written + content[HEADER_BYTES + length :]


def _graph(path: Path, spec: ModelSpec, calibration: Calibration, threshold: float, note: str) -> bytes:
    try:
        model = onnx.load(str(path), load_external_data=False)
        properties = {item.key: item for item in model.metadata_props}
        own = ModelSpec.from_json(properties[SPEC_KEY].value, origin=path)
    except AvolError:
        raise
    except Exception as error:  # protobuf has exceptions of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AvolError(f"{path}: not a graph of avol export ({reason}); export the model again.") from None
    if different := own.differences(spec):
        raise AvolError(f"{path}: differs from {SPEC_FILE} beside it in {', '.join(different)}; export it again.")
    if any(output.name == "map" for output in model.graph.output):
        _change_logit(path, model.graph, own.calibration, calibration)
    properties[SPEC_KEY].value = _changed(own, calibration, threshold, note).to_json()
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise AvolError(f"{path}: cannot take a calibration ({str(error).splitlines()[0]}); export it again.") from None
    return bytes(model.SerializeToString())


def _change_logit(path: Path, graph: onnx.GraphProto, old: Calibration, new: Calibration) -> None:
    """Factor and summand before the sigmoid: ``new logit = factor * logit of the exporter + summand``."""
    if not old.scale > 0:
        raise AvolError(f"{path}: its calibration has the scale {old.scale}, expected more than 0; export it again.")
    factor, summand = _constants(graph)
    # The logit as the exporter left it is base_scale * l + base_bias, before factor and summand.
    base_scale, base_bias = old.scale / factor, (old.bias - summand) / factor
    factor = new.scale / base_scale
    values = {SCALE: factor, BIAS: new.bias - factor * base_bias}
    if any(tensor.name == SCALE for tensor in graph.initializer):
        for tensor in graph.initializer:
            if tensor.name in values:
                tensor.CopyFrom(numpy_helper.from_array(np.array(values[tensor.name], np.float32), tensor.name))
        return
    position, sigmoid = _sigmoid(path, graph)
    logit = sigmoid.input[0]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()
    )
    scaled = onnx.helper.make_node("Mul", [logit, SCALE], [f"{SCALE}.out"], name=SCALE)
    shifted = onnx.helper.make_node("Add", [f"{SCALE}.out", BIAS], [f"{BIAS}.out"], name=BIAS)
    sigmoid.input[0] = f"{BIAS}.out"
    graph.node.insert(position, scaled)
    graph.node.insert(position + 1, shifted)


def _constants(graph: onnx.GraphProto) -> tuple[float, float]:
    found = {t.name: float(numpy_helper.to_array(t)) for t in graph.initializer if t.name in {SCALE, BIAS}}
    return found.get(SCALE, 1.0), found.get(BIAS, 0.0)


def _sigmoid(path: Path, graph: onnx.GraphProto) -> tuple[int, onnx.NodeProto]:
    """The node that makes the map of logits, and its place among the nodes."""
    found = [(position, node) for position, node in enumerate(graph.node) if node.op_type == "Sigmoid"]
    if len(found) != 1:
        raise AvolError(f"{path}: has {len(found)} sigmoids, expected the one of its map; export the model again.")
    return found[0]
