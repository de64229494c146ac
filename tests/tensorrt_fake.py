"""TensorRT as far as its names go: a module that knows the classes, attributes and arguments of a real release.

``tensorrt_names/*.json`` were collected from the real bindings (see ``collect.py`` there). Whatever the release does
not have is an ``AttributeError`` or a ``TypeError`` here too; what calls give is up to the test, by ``"Class.method"``.
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "tensorrt_names"
TENSORRT_VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")


def read_names(package: str, version: str) -> dict[str, Any]:
    """What a release offers."""
    names: dict[str, Any] = json.loads((FOLDER / f"{package}-{version}.json").read_text(encoding="utf-8"))
    return names


class FakeTensorRT:
    """A stand-in for the module of one release.

    Args:
        version: one of :data:`TENSORRT_VERSIONS`.
        answers: by ``"Class.method"`` a function of the object and the arguments, by ``"Class.attribute"`` a value.
    """

    def __init__(self, version: str, answers: dict[str, Any], package: str = "tensorrt") -> None:
        self.__version__ = version
        self.names, self.answers = read_names(package, version), answers
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._types: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in self.names["classes"]:
            raise AttributeError(f"tensorrt {self.__version__} has no {name}")
        if name not in self._types:
            self._types[name] = self._make(name, self.names["classes"][name])
        return self._types[name]

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of ``Class.method``, and values given to ``Class.attribute``."""
        return [arguments for called, arguments in self.calls if called == name]

    def _make(self, name: str, members: dict[str, Any]) -> Any:
        numbers = {key: value for key, value in members.items() if isinstance(value, int)}
        if numbers:
            return enum.IntEnum(name, numbers)
        return type(name, (FakeObject,), {"_module": self, "_name": name, "_members": members})


class FakeObject:
    """An instance of a class of the bindings."""

    _module: FakeTensorRT
    _name: str
    _members: dict[str, Any]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        check_arguments(f"{self._name}()", self._members["__init__"], arguments, named)

    def __getattr__(self, name: str) -> Any:
        member, full = self._members.get(name), f"{self._name}.{name}"
        if member is None:
            raise AttributeError(f"tensorrt {self._module.__version__}: {full} does not exist")
        answer = self._module.answers.get(full)
        if isinstance(member, str):
            return answer

        def call(*arguments: Any, **named: Any) -> Any:
            check_arguments(full, member, arguments, named)
            self._module.calls.append((full, (*arguments, *named.values())))
            return answer(self, *arguments, **named) if callable(answer) else answer

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        full = f"{self._name}.{name}"
        if self._members.get(name) != "attribute":
            raise AttributeError(f"tensorrt {self._module.__version__}: {full} cannot be set")
        self._module.calls.append((full, (value,)))
        vars(self)[name] = value


def new(module: FakeTensorRT, class_name: str, /, **values: Any) -> Any:
    """An object that the bindings make themselves; its attributes and methods exist in the release."""
    cls = getattr(module, class_name)
    made = cls.__new__(cls)
    for key, value in values.items():
        member, full = cls._members.get(key), f"{class_name}.{key}"
        assert member is not None, f"tensorrt {module.__version__}: {full} does not exist"
        vars(made)[key] = value if isinstance(member, str) else checked(full, member, value)
    return made


def checked(name: str, signatures: list[dict[str, Any]], function: Any) -> Any:
    """The function behind a check of its arguments."""

    def call(*arguments: Any, **named: Any) -> Any:
        check_arguments(name, signatures, arguments, named)
        return function(*arguments, **named)

    return call


def check_arguments(
    name: str, signatures: list[dict[str, Any]], arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """Raise ``TypeError`` unless one of the signatures takes these arguments."""
    for signature in signatures:
        known = signature["arguments"]
        given = {*known[: len(arguments)], *named}
        needed = set(known) - set(signature["optional"])
        if len(arguments) <= len(known) and needed <= given <= set(known):
            return
    raise TypeError(f"{name} takes none of ({len(arguments)} arguments, {sorted(named)}): {signatures}")
