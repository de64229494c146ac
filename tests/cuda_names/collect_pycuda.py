"""Write what PyCUDA offers, names and arguments, as JSON: its wrapper's source is read, nothing is built.

pip download --no-deps --no-build-isolation --no-binary :all: pycuda==2026.1
python tests/cuda_names/collect_pycuda.py pycuda-2026.1.tar.gz tests/cuda_names
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

STATEMENT = re.compile(
    r'py::(?P<class>class_|enum_)<[^;]*?>\s*\w*\s*\(\s*"(?P<type>\w+)"'
    r'|py::def\(\s*"(?P<function>\w+)"'
    r"|DEF_SIMPLE_FUNCTION(?:_WITH_ARGS)?\((?P<simple_function>\w+)"
    r'|\.(?P<kind>def|value|add_property|staticmethod)\(\s*"(?P<member>\w+)"'
    r"|\.DEF_SIMPLE_METHOD(?:_WITH_ARGS)?\((?P<simple_member>\w+)\)"
    r"|DECLARE_EXC\((?P<exception>\w+),"
)
ARGUMENT = re.compile(r'py::args?\(((?:"\w+"(?:,\s*)?)+)\)(=)?')


def collect(source: str) -> dict[str, Any]:
    """Functions, exceptions and classes with their members; each name with the arguments that the source names."""
    found: dict[str, Any] = {"functions": {}, "exceptions": [], "classes": {}}
    matches = [*STATEMENT.finditer(source)]
    members: dict[str, Any] = {}
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        text = source[match.end() : following.start() if following else match.end() + 400].partition(";")[0]
        arguments = [name for part, _ in ARGUMENT.findall(text) for name in re.findall(r"\w+", part) if name != "self"]
        if name := match["type"]:
            members = found["classes"].setdefault(name, {})
            if match["class"] == "class_" and "py::init" in text:
                members["__init__"] = arguments
        elif name := match["function"] or match["simple_function"]:
            found["functions"][name] = arguments
        elif name := match["exception"]:
            found["exceptions"].append(name)
        elif match["kind"] != "staticmethod":
            members[match["member"] or match["simple_member"]] = arguments
    return found


def main() -> None:
    """Read the archive that is named first, write into the folder that is named second."""
    archive, folder = Path(sys.argv[1]), Path(sys.argv[2])
    version = archive.name.removeprefix("pycuda-").removesuffix(".tar.gz")
    with tarfile.open(archive) as sdist:
        file = sdist.extractfile(f"pycuda-{version}/src/wrapper/wrap_cudadrv.cpp")
        assert file is not None
        found = collect(file.read().decode())
    text = json.dumps({"package": "pycuda", "version": version, **found}, indent=1, sort_keys=True)
    (folder / f"pycuda-{version}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
