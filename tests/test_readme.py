"""README.md and CONTRIBUTING.md tell the truth: commands, options, tables, tree and links."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avol.apps import cli
from avol.runtime.model_folder import bundled_model_folder
from media_factory import AudioTrack, VideoTrack, bursts, write_media, write_picture

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("runtime", "train", "export", "apps")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every line that a reader would type."""
    lines = [line for text in DOCUMENTS.values() for block in blocks("console", text) for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


def table(heading: str) -> dict[str, str]:
    """The first two columns of the table whose first heading is this; code marks are dropped from the first."""
    match = re.search(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert match, f"no table {heading}"
    rows = [re.split(r"(?<!\\)\|", row)[1:3] for row in match[1].splitlines()]
    return {name.strip().strip("`"): meaning.strip() for name, meaning in rows}


def parser_of(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"avol {name}", allow_abbrev=False)
    importlib.import_module(cli.COMMANDS[name].module).add_arguments(parser)
    return parser


def extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])


def check_make(words: list[str]) -> None:
    """``make -n`` knows the target and its recipe, and the target is a documented one."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert words[0] in targets


def check_pip(words: list[str]) -> None:
    """The package is this one with extras that exist; a constraints file exists."""
    assert words[0] == "install"
    named = [match[1].split(",") for word in words if (match := re.fullmatch(r"(?:\.|avol)\[([\w,-]+)\]", word))]
    assert len(named) == 1, words
    assert set(named[0]) <= extras()
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()


@pytest.mark.parametrize("line", commands())
def test_every_command_exists(line: str) -> None:
    words = shlex.split(line)
    while re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        words.pop(0)
    program, *arguments = words
    if program == "make":
        check_make(arguments)
    elif program == "pip":
        check_pip(arguments)
    elif program in ("avol-run", "avol-demo"):
        parser_of(program.removeprefix("avol-")).parse_args(arguments)
    else:
        assert program == "avol", f"a command that no test understands: {line}"
        parser_of(arguments[0]).parse_args(arguments[1:])


@pytest.fixture(scope="module")
def concert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: a video, another sound, a model, a folder for results."""
    folder = tmp_path_factory.mktemp("concert")
    track = AudioTrack(samples=bursts([0.3], seconds=0.6, sample_rate=16000), sample_rate=16000, codec="aac")
    write_media(folder / "concert.mp4", VideoTrack(seconds=0.6, rate=25), track)
    wave = AudioTrack(samples=bursts([0.2], seconds=0.6, sample_rate=16000), sample_rate=16000, codec="pcm_s16le")
    write_media(folder / "violin.wav", None, wave)
    write_picture(folder / "band.jpg", np.full((64, 96, 3), 90, np.uint8))
    (folder / "results").mkdir()
    (folder / "mine").symlink_to(bundled_model_folder())
    return folder


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("avol-run ")])
def test_the_examples_of_avol_run_run(
    concert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.chdir(concert)
    if "--live" in line or "--start" in line:  # no camera, no minutes of video: the options are understood
        parser_of("run").parse_args(shlex.split(line)[1:])
        return
    assert cli.main_run(shlex.split(line)[1:]) == 0
    written = re.search(r"-> (.*)", capsys.readouterr().out)
    assert written
    for name in written[1].split(" and "):
        assert (concert / name).stat().st_size > 0


@pytest.mark.parametrize("block", blocks("python"))
def test_the_examples_in_python_run(
    concert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], block: str
) -> None:
    monkeypatch.chdir(concert)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().err == ""


def test_the_timeline_has_the_keys_of_the_example(concert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(concert)
    assert cli.main_run(["concert.mp4", "--no-video", "--maps", "--json", "example.json"]) == 0
    (example,) = blocks("json")
    assert keys(json.loads(example)) == keys(json.loads((concert / "example.json").read_text(encoding="utf-8")))


def keys(value: Any) -> Any:
    """The names in a JSON value, and those in the first item of a list."""
    if isinstance(value, dict):
        return {name: keys(item) for name, item in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_the_options_of_avol_run_are_all_described() -> None:
    options = {}
    for action in parser_of("run")._actions:
        if action.option_strings and action.dest != "help":
            metavar = f" {action.metavar}" if action.nargs != 0 else ""
            options[f"{action.option_strings[-1]}{metavar}"] = action.default
    assert set(table("Option")) == set(options)
    assert f"(default: {options['--rate HZ']:g})" in table("Option")["--rate HZ"]


def test_the_extras_are_all_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    described = table("Extra")
    assert set(described) == extras()
    for extra in described.keys() - {"dev"}:
        for requirement in project["optional-dependencies"][extra]:
            assert re.match(r"[\w-]+", requirement)[0] in described[extra]


def tree() -> dict[str, str]:
    """Paths in the tree (folders end with a slash) and what is said of each."""
    (block,) = blocks("text")
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines():
        name, _, purpose = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 4
        folders[depth:] = [name]
        found["".join(folders)] = purpose.strip()
    return found


def test_everything_in_the_tree_exists_and_says_what_it_is_for() -> None:
    for name, purpose in tree().items():
        path = ROOT / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), name
        assert purpose, name


def test_everything_that_matters_is_in_the_tree() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    top = {f"{path.parts[0]}/" if len(path.parts) > 1 else path.name for path in files} - {".gitignore", ".ci/"}
    modules = {
        str(path) for path in files if path.parts[0] in ROOMS and path.suffix == ".py" and path.stem != "__init__"
    }
    assert sorted((top | modules) - tree().keys()) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name])
    assert links or name != "README.md"
    for link in links:
        assert not link.startswith(("http:", "/")), link
        if not link.startswith("https:"):
            path, _, anchor = link.partition("#")
            assert (ROOT / path).exists(), link
            assert not anchor or anchor in anchors(DOCUMENTS[path or name]), link


def anchors(text: str) -> set[str]:
    """The anchors that a renderer gives the headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
