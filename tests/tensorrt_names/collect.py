"""Write what a TensorRT Python package offers: classes, attributes, enum members and signatures, as JSON.

The tests hold every name and argument that avol uses against the files that this wrote. It needs no GPU and no TensorRT
library: the binding wheels of ``tensorrt`` import beside libraries that only carry the names of the entry points, which
the linker makes out of nothing. Such a package cannot build or run anything.

    pip download --no-deps -d wheels tensorrt-cu13-bindings==11.4.0.106
    python tests/tensorrt_names/collect.py wheels/*.whl tests/tensorrt_names
    python tests/tensorrt_names/collect.py tensorrt_rtx tests/tensorrt_names     # an installed package
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

ENTRY_POINTS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\)(?: (?:->|→) (.*))?$")


def import_bindings(wheel: Path, folder: Path) -> ModuleType:
    """Import a binding wheel out of ``folder``, beside stand-ins for the libraries that it links."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    major = wheel.name.split("-")[1].split(".")[0]
    (folder / "nothing").write_bytes(b"\0")
    subprocess.run(["ld", "-r", "-b", "binary", "nothing", "-o", "nothing.o"], cwd=folder, check=True)
    symbols = [f"--defsym={name}=0" for name in ENTRY_POINTS]
    for library in LIBRARIES:
        name = f"{library}.so.{major}"
        command = ["ld", "-shared", f"-soname={name}", *symbols, "-o", name, "nothing.o"]
        subprocess.run(command, cwd=folder, check=True)
        ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(folder))
    return importlib.import_module("tensorrt_bindings")


def describe(module: ModuleType) -> dict[str, Any]:
    """Version, and by name: a class's members, a function's signatures."""
    names = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    classes = {name: members(value) for name, value in names.items() if isinstance(value, type)}
    functions = {name: signatures(value) for name, value in names.items() if callable(value) and name not in classes}
    return {"version": module.__version__, "classes": classes, "functions": functions}


def members(cls: type) -> dict[str, Any]:
    """Enum members as numbers, attributes as "attribute", methods and ``__init__`` as lists of signatures."""
    numbered: dict[str, Any] = {name: int(value) for name, value in getattr(cls, "__members__", {}).items()}
    for name in dir(cls):
        if name in numbered or (name.startswith("_") and name != "__init__"):
            continue
        value = getattr(cls, name, None)
        if isinstance(value, property):
            numbered[name] = "attribute" if value.fset else "read-only"
        elif isinstance(value, type):
            numbered[name] = members(value)
        elif callable(value):
            numbered[name] = signatures(value)
    return numbered


def signatures(function: Any) -> list[dict[str, Any]]:
    """What a pybind11 docstring says of the arguments: their names, and which may be left out."""
    found = []
    for line in (function.__doc__ or "").splitlines():
        match = SIGNATURE.match(line.strip())
        if match and match[1] == getattr(function, "__name__", None) and "*args" not in match[2]:
            arguments = [argument for argument in split(match[2]) if argument not in ("", "self")]
            named = [re.split(r"[:=]", argument)[0].strip() for argument in arguments]
            optional = [name for name, argument in zip(named, arguments, strict=True) if "=" in argument]
            if named[:1] == ["self"]:
                named = named[1:]
            found.append({"arguments": named, "optional": optional})
    return found


def split(text: str) -> list[str]:
    """Split arguments at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<{") - (letter in "])>}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def main() -> None:
    """Collect one package and write ``PACKAGE-VERSION.json``."""
    source, out = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        is_wheel = source.endswith(".whl")
        module = import_bindings(Path(source), Path(folder)) if is_wheel else importlib.import_module(source)
        described = {"package": "tensorrt" if is_wheel else source, **describe(module)}
    path = out / f"{described['package']}-{described['version']}.json"
    path.write_text(json.dumps(described, indent=None, sort_keys=True, separators=(",", ":")) + "\n")
    sys.stdout.write(f"{path}: {len(described['classes'])} classes, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
