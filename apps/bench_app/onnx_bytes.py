"""ONNX models of a single node, written by hand: the package onnx is no part of what runs models.

Source of the field numbers: onnx/onnx.proto of the ONNX project; of the encoding: the Protocol Buffers documentation.
"""

from __future__ import annotations

FLOAT, UINT8, INT8, INT32, FLOAT16 = 1, 2, 3, 6, 10  # TensorProto.DataType
IR_VERSION, OPSET = 9, 17
_VARINT, _BYTES = 0, 2  # wire types

Tensor = tuple[str, int, tuple[int, ...]]  # name, element type, shape


def one_node_model(operator: str, inputs: tuple[Tensor, ...], output: Tensor) -> bytes:
    """The bytes of a model that applies one operator to its inputs."""
    node = [_text(1, name) for name, _, _ in inputs] + [_text(2, output[0]), _text(4, operator)]
    graph = [_field(1, b"".join(node)), _text(2, "graph")]
    graph += [_field(11, _value_info(tensor)) for tensor in inputs] + [_field(12, _value_info(output))]
    return _number(1, IR_VERSION) + _field(7, b"".join(graph)) + _field(8, _number(2, OPSET))


def _value_info(tensor: Tensor) -> bytes:
    name, element_type, shape = tensor
    dimensions = b"".join(_field(1, _number(1, size)) for size in shape)
    return _text(1, name) + _field(2, _field(1, _number(1, element_type) + _field(2, dimensions)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _field(field, value.encode("utf-8"))


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
