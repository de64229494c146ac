"""avol bench as a user meets it: the report and its keys, the tables, mistakes, and Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avol.apps import bench
from avol.apps.bench_app import measure, roofline, whole_run
from avol.apps.bench_app.measure import FORMAT
from avol.apps.bench_app.table import WIDTH, lines_of
from avol.apps.cli import main
from avol.runtime.backends.phases import PHASES
from avol.runtime.stage_times import STAGES
from media_factory import AudioTrack, VideoTrack, bursts, write_media

SECONDS = 0.6


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "concert.mp4"
    track = AudioTrack(samples=bursts([0.3], seconds=SECONDS, sample_rate=16000), sample_rate=16000, codec="aac")
    write_media(path, VideoTrack(seconds=SECONDS, rate=25), track)
    return path


@pytest.fixture(scope="module")
def measured(video: Path) -> tuple[dict[str, Any], str]:
    """The report of a small benchmark of the bundled model, and what was printed."""
    report = video.parent / "bench.json"
    report.write_text(json.dumps({"format": FORMAT}), encoding="utf-8")  # of an earlier run
    options = ["--device", "cpu", "--batch", "1,3", "--seconds", "0.001", "--video", str(video)]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(measure, "LEAST_RUNS", dict.fromkeys(measure.LEAST_RUNS, 2))
        patch.setattr(whole_run, "RUNS", 1)
        patch.setattr(whole_run, "STARTS", 1)
        patch.setitem(roofline.SIDES, "cpu", 64)
        patch.setattr(roofline, "MOVED_NUMBERS", 1 << 12)
        assert main(["bench", *options, "--report", str(report)]) == 0
    return json.loads(report.read_text(encoding="utf-8")), printed.getvalue()


def test_every_precision_and_batch_has_a_row(measured: tuple[dict[str, Any], str]) -> None:
    record, _ = measured
    assert record["format"] == FORMAT
    rows = [(row["backend"], row["precision"], row["batch"]) for row in record["rows"]]
    assert rows == [("onnxruntime-cpu", precision, batch) for precision in ("fp32", "int8") for batch in (1, 3)]
    assert [(run["backend"], run["precision"]) for run in record["runs"]] == [rows[0][:2], rows[2][:2]]
    assert record["not_measured"] == [{"device": "cpu", "precision": "fp16", "reason": "no fp16 graphs"}]


def test_the_figures_of_a_row_are_times(measured: tuple[dict[str, Any], str]) -> None:
    for row in measured[0]["rows"]:
        for name in ("single_stream", "multi_stream"):
            times = row["scenarios"][name]["latency_milliseconds"]
            assert 0 < times["min"] <= times["median"] <= times["p90"] <= times["p95"] <= times["p99"]
        assert row["scenarios"]["offline"]["pairs_per_second"] > 0
        assert row["latency_milliseconds"] == row["compute_milliseconds"]
        assert [row[f"{name}_milliseconds"] for name in ("enqueue", "h2d", "d2h")] == [None] * 3
        assert "nothing is enqueued" in row["phases_note"]
        assert row["roofline"]["operations_per_pair"] > 8e8
        assert row["roofline"]["share"] > 0
        assert row["model_bytes"] > 1_000_000
        assert 0 < row["quality"]["figures"]["clip_peak_in_box"]["value"] < 1
    floats, bytes_ = measured[0]["rows"][0], measured[0]["rows"][2]
    assert bytes_["model_bytes"] < floats["model_bytes"]
    assert bytes_["export_gate"].startswith("passed")
    assert floats["export_gate"] is None


def test_a_whole_run_has_every_stage(measured: tuple[dict[str, Any], str]) -> None:
    for run in measured[0]["runs"]:
        assert run["frames"] == round(SECONDS * 25)
        assert 0 < run["analysed"] < run["frames"]
        assert list(run["stages_milliseconds"]) == list(STAGES)
        assert all(value > 0 for value in run["stages_milliseconds"].values())
        assert run["real_time_factor"] == pytest.approx(run["elapsed_seconds"] / run["duration_seconds"], rel=0.01)
        assert 20e6 < run["peak_memory_bytes"] < 4e9
        assert len(run["start_up"]["seconds"]) == 1
        assert run["start_up"]["median_seconds"] > 0


def flat(value: Any, prefix: str = "") -> set[str]:
    """Dotted names of everything in a JSON value; items of a list share one."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(flat(item, f"{prefix}[]") for item in value))
    if isinstance(value, dict):
        return {name for key, item in value.items() for name in flat(item, f"{prefix}.{key}" if prefix else key)}
    return {prefix}


def test_every_key_of_the_report_is_described(measured: tuple[dict[str, Any], str], repository: Path) -> None:
    text = (repository / "docs" / "measuring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert "rows[].roofline.share" in described
    found = flat(measured[0])

    def covers(description: str, name: str) -> bool:
        return name == description or name.startswith((f"{description}.", f"{description}[]"))

    assert [name for name in found if not any(covers(each, name) for each in described)] == []
    assert [each for each in described if not any(covers(each, name) for name in found)] == []


def test_the_documented_commands_exist(repository: Path) -> None:
    parser = argparse.ArgumentParser(prog="avol bench", allow_abbrev=False)
    bench.add_arguments(parser)
    text = (repository / "docs" / "measuring.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ avol bench(.*)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        parser.parse_args(shlex.split(line))


def test_no_host_or_user_is_in_the_report(measured: tuple[dict[str, Any], str], video: Path) -> None:
    import platform

    text = json.dumps({**measured[0], "command": ""})
    assert str(video.parent) not in text
    assert str(Path.home()) == "/" or str(Path.home()) not in text
    assert f'"{platform.node()}"' not in text


def test_the_tables_fit_the_screen_and_say_what_does_not_exist(measured: tuple[dict[str, Any], str]) -> None:
    record, printed = measured
    lines = printed.splitlines()
    assert lines == lines_of(record)
    assert not [line for line in lines if " 0.000 " in line]
    assert max(map(len, lines)) <= WIDTH
    assert "MLPerf-style, not MLPerf" in printed
    for phase in ("enqueue", "H2D", "D2H"):
        cells = [line.split()[-6:] for line in lines if re.search(rf"\b{phase}\b +-", line)]
        assert cells == [["-"] * 6] * 4, phase
    assert "onnxruntime-cpu: computes where the tensors are: nothing is enqueued" in printed
    assert "Not measured: cpu (fp16): no fp16 graphs." in printed


def test_the_tables_of_a_gpu_fit_as_well(measured: tuple[dict[str, Any], str]) -> None:
    """Long names, slow calls and every column filled."""
    record = json.loads(json.dumps(measured[0]))
    times = dict.fromkeys(("min", "mean", "median", "p90", "p95", "p99"), 1234.5678)
    for row in record["rows"]:
        row |= {"backend": "onnxruntime-cuda", "batch": 1024, "pairs_per_second": 123_456.7, "quality": None}
        row |= {f"{phase}_milliseconds": times for phase in ("latency", *PHASES)}
        for scenario in ("single_stream", "multi_stream"):
            row["scenarios"][scenario]["latency_milliseconds"] = times
        row["scenarios"]["offline"] |= {"pairs_per_second": 123_456.7, "joules_per_pair": 0.0123}
        row["roofline"] |= {"share": None, "note": "frame.onnx is missing."}
    for run in record["runs"]:
        run |= {
            "backend": "onnxruntime-cuda",
            "stages_milliseconds": dict.fromkeys(STAGES, 1234.5),
            "real_time_factor": 0.001,
        }
        run |= {"peak_memory_bytes": 12_345_678_901}
        run["start_up"]["median_seconds"] = 12.345
    lines = lines_of(record)
    assert max(map(len, lines)) <= WIDTH
    assert any("not recorded" in line for line in lines)
    assert any("no roofline: frame.onnx is missing." in line for line in lines)
    assert not any("energy cannot be read" in line for line in lines)


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "gpu"], "'gpu' is none of cpu, cuda, tensorrt, tensorrt-rtx"),
        (["--device", "auto"], "'auto' is none of"),
        (["--precision", "fp32,"], "'' is none of fp32"),
        (["--precision", "bf16"], "'bf16' is none of"),
        (["--batch", "0"], "no list of whole numbers"),
        (["--batch", "1,,8"], "no list of whole numbers"),
        (["--batch", "1025"], "no list of whole numbers"),
        (["--batch", "-3"], ""),
        (["--batch", "9" * 5000], "no list of whole numbers"),
        (["--batch", "²"], "no list of whole numbers"),
        (["--seconds", "0"], "not above 0"),
        (["--seconds", "nan"], "not above 0"),
        (["--seconds", "inf"], "not above 0"),
        (["--seconds", "soon"], "not above 0"),
        (["--repeats", "3"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_are_usage_mistakes(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def complaint(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line that a mistake gives; nothing was measured."""
    assert main(["bench", *options]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("avol bench: ")
    assert said.err.count("\n") == 1
    return said.err


def test_a_report_never_takes_the_place_of_something_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine.json"
    for text in ('{"format": "avol.timeline/1"}', "[1, 2]", "notes", "", '"avol.bench/1"', "[" * 100_000):
        mine.write_text(text, encoding="utf-8")
        assert "no report of avol bench" in complaint(capsys, "--report", "mine.json")
        assert mine.read_text(encoding="utf-8") == text
    mine.write_bytes(b"\xff\xfe\x00")
    assert "no report of avol bench" in complaint(capsys, "--report", "mine.json")
    assert mine.read_bytes() == b"\xff\xfe\x00"


def test_a_report_that_cannot_be_written_shows_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "does not exist" in complaint(capsys, "--report", str(tmp_path / "missing" / "bench.json"))
    assert "not a regular file" in complaint(capsys, "--report", str(tmp_path))
    assert "does not exist" in complaint(capsys, "--report", str(tmp_path / "file" / "bench.json"))
    assert "cannot be written" in complaint(capsys, "--report", str(tmp_path / ("n" * 300)))
    assert "not a regular file" in complaint(capsys, "--report", "/dev/full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_device_that_was_named_and_cannot_be_had_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from avol.runtime.backends import nvidia

    monkeypatch.setattr(nvidia, "DRIVER_LIBRARY", "libcuda-is-not-there.so.1")
    assert "no NVIDIA driver" in complaint(capsys, "--device", "tensorrt")
    assert "no NVIDIA driver" in complaint(capsys, "--device", "cpu,cuda")
    assert "no fp16 graphs" in complaint(capsys, "--device", "cpu", "--precision", "fp16")
    assert "no fp16 graphs" in complaint(capsys, "--precision", "fp16")


def test_tensorrt_beside_a_gpu_without_its_package_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from avol.runtime.backends import selection
    from avol.runtime.backends.nvidia import Gpu

    monkeypatch.setattr(selection, "find_gpu", lambda: Gpu("Paper GPU", "9.0", "580.65.06", "13.0"))
    assert "holds no TensorRT engines" in complaint(capsys, "--device", "tensorrt")


def test_models_and_videos_that_are_none_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such model" in complaint(capsys, "--model", str(tmp_path / "none"))
    assert "not a model" in complaint(capsys, "--model", str(tmp_path))
    assert "none.mp4" in complaint(capsys, "--video", str(tmp_path / "none.mp4"))
    (tmp_path / "notes.mp4").write_text("no video", encoding="utf-8")
    assert "notes.mp4" in complaint(capsys, "--video", str(tmp_path / "notes.mp4"))


def test_a_video_that_fails_in_its_run_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from avol.apps.bench_app.configurations import Configuration
    from avol.runtime.errors import AvolError
    from avol.runtime.model_folder import bundled_model_folder

    arguments = (bundled_model_folder(), tmp_path / "-gone.mp4", Configuration("cpu", "fp32"))
    with pytest.raises(AvolError, match=r"-gone\.mp4"):
        whole_run.measure_whole_run(*arguments)
    with pytest.raises(AvolError, match=r"-gone\.mp4"):
        whole_run.measure_start_up(*arguments)


def test_the_command_can_be_asked_again() -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    words = ["--model", "my model", "--batch", "1,16", "--device", "cpu,cuda", "--report", "a.json"]
    command = bench.command_of(parser.parse_args(words))
    assert command == "avol bench --model 'my model' --device cpu,cuda --batch 1,16 --seconds 2.0 --report a.json"


AT_WORK = """
import sys, time
from avol.apps.bench_app import measure, roofline, whole_run
roofline.SIDES["cpu"], roofline.MOVED_NUMBERS = 8, 8
{patch}
from avol.apps.cli import main
sys.exit(main(["bench", "--device", "cpu", "--precision", "fp32", "--batch", "1", "--seconds", "0.001", *sys.argv[1:]]))
"""
IN_THIS_PROCESS = """
def wait(*arguments):
    open("at-work", "w").write("0")
    time.sleep(60)
measure.single_stream = wait
measure.measure_whole_run = measure.measure_start_up = lambda *arguments: {}
"""
IN_ANOTHER_PROCESS = """
other = "import os, time; open('at-work', 'w').write(str(os.getpid())); time.sleep(60)"
whole_run._command = lambda *arguments: [sys.executable, "-c", other]
"""


def is_running(process: int) -> bool:
    """Whether it is there, and not dead and waiting to be asked how it ended."""
    try:
        state = (
            Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
        )
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("patch", [IN_THIS_PROCESS, IN_ANOTHER_PROCESS])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_report_and_no_process(
    tmp_path: Path, video: Path, patch: str, number: signal.Signals, status: int
) -> None:
    command = [sys.executable, "-c", AT_WORK.format(patch=patch), "--video", str(video), "--report", "bench.json"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (tmp_path / "at-work").is_file() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, ""), said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["at-work"]
    other = int((tmp_path / "at-work").read_text(encoding="utf-8") or "0")
    give_up = time.monotonic() + 30  # of 60 that it would sleep
    while other and is_running(other) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert not other or not is_running(other)


def test_random_bytes_stay_noise() -> None:
    """The pairs are the same in every run: reports of two machines are of the same work."""
    from avol.apps.bench_app.scenarios import make_pairs
    from avol.runtime.model_folder import bundled_model_folder, read_spec

    spec = read_spec(bundled_model_folder())
    one, other = make_pairs(spec, 8), make_pairs(spec, 8)
    assert np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.samples, other.samples)
