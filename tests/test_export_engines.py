"""The options of avol export that are about engines, and what it prints of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from avol.apps.cli import main
from avol.apps.export_engines import add_engine_arguments, build_requested
from avol.export import engines_modules
from avol.runtime.errors import AvolError
from engine_graphs import needs_rtx, write_small_model
from tiny_model import example_moments, save_tiny, tiny_preset


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_engine_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"engine": "auto", "batch": (1, 8, 32), "engine_precision": None, "dla": None, "tf32": False}),
        (("--batch", "4"), {"batch": (4,)}),
        (("--batch", "1, 16"), {"batch": (1, 16)}),
        (("--engine-precision", "fp16,int8"), {"engine_precision": ("fp16", "int8")}),
        (("--engine-graphs", "pair,frame"), {"engine_graphs": ("pair", "frame")}),
        (("--engine-hardware", "ampere-plus", "--version-compatible"), {"version_compatible": True}),
        (("--dla", "1", "--workspace", "256", "--optimization-level", "5"), {"dla": 1, "workspace": 256}),
    ],
)
def test_options_are_read(words: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert expected.items() <= vars(parse(*words)).items()


@pytest.mark.parametrize(
    "words",
    [
        ("--engine", "openvino"),
        ("--batch", "1,x"),
        ("--batch", ""),
        ("--batch", "0"),
        ("--engine-precision", "fp8"),
        ("--engine-precision", ""),
        ("--optimization-level", "6"),
        ("--engine-hardware", "all"),
    ],
)
def test_usage_mistakes_exit_with_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


@needs_rtx
def test_half_graphs_are_preferred_and_a_line_is_printed_for_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_small_model(tmp_path / "model")
    (engine,) = build_requested(parse("--engine", "tensorrt-rtx", "--batch", "1,4"), folder)
    assert engine.info.precision == "fp16"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("engines by tensorrt-rtx 1.")
    assert "none of them has been run" in lines[1]
    assert lines[2].split()[0] == "frame.fp16.tensorrt-rtx.plan"
    assert lines[2].endswith("2 of 2 weighted layers in float16")
    (engine,) = build_requested(parse("--engine-precision", "int8", "--engine", "tensorrt-rtx"), folder)
    assert engine.types == "2 of 2 weighted layers in int8"


def test_no_engine_is_asked_for(tmp_path: Path) -> None:
    assert build_requested(parse("--engine", "none"), tmp_path / "nowhere") == []


def test_options_that_do_not_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AvolError, match="0 bytes are not enough"):
        build_requested(parse("--workspace", "0"), tmp_path)
    monkeypatch.setattr(engines_modules, "import_builder", lambda _: None)
    with pytest.raises(AvolError, match=r"tensorrt is not installed: pip install '\.\[tensorrt\]'"):
        build_requested(parse("--engine", "tensorrt"), tmp_path)


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (("--engine", "tensorrt"), "tensorrt is not installed"),
        (("--out", "file"), "file: takes no files (File exists)"),
        (("--out", "file/below"), "file/below: takes no files (Not a directory)"),
        (("--out", "/proc/below"), "/proc/below: takes no files"),
        (("--triton", "file"), "file: takes no files"),
        (("--workspace", "-1"), "are not enough"),
        (("--engine-graphs", "pair,nope"), "there is no graph nope; take of spectrogram, audio,"),
        (("--engine-precision", "int8", "--precision", "fp16"), "there are no int8 graphs to build from"),
    ],
)
def test_what_cannot_be_is_said_before_anything_long(
    words: tuple[str, ...],
    fact: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(engines_modules, "import_builder", lambda _: None)
    monkeypatch.setattr("avol.export.job.export_model", lambda *_, **__: pytest.fail("went on"))
    assert main(["export", *words]) == 1
    said = capsys.readouterr().err
    assert fact in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert Path("file").read_text(encoding="utf-8") == "mine"


@needs_rtx
def test_the_command_builds_after_it_has_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("avol.export.job.synthetic_moments", lambda spec, **_: example_moments(spec, 8))
    with tiny_preset():
        checkpoint = save_tiny(tmp_path)
        words = ["--precision", "fp32", "--engine-graphs", "frame", "--batch", "1"]
        assert main(["export", str(checkpoint), "--out", str(out), "--engine", "tensorrt-rtx", *words]) == 0
    assert (out / "frame.fp32.tensorrt-rtx.plan.json").is_file()
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{out}: 8 files")
