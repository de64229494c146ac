"""The dispatcher: what it imports, what it prints, and its exit statuses."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from avol.apps import cli
from avol.runtime.errors import AvolError

HEAVY = ("numpy", "av", "cv2", "onnxruntime", "torch", "torchaudio", "onnx", "scipy", "tqdm", "gradio")


def python(code: str, *, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A subcommand ``avol fake --number N`` whose module is the one returned; it also stands for ``avol run``."""
    module = ModuleType("fake_command")
    module.add_arguments = lambda parser: parser.add_argument("--number", type=int, default=3)
    module.run = lambda arguments: None
    monkeypatch.setitem(sys.modules, "fake_command", module)
    fake = cli.Command(module="fake_command", help="Pretend.", extra="export")
    monkeypatch.setitem(cli.COMMANDS, "fake", fake)
    monkeypatch.setitem(cli.COMMANDS, "run", fake)
    return module


def raising(module: ModuleType, error: BaseException) -> None:
    def run(arguments: argparse.Namespace) -> None:
        raise error

    module.run = run


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in cli.COMMANDS)])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    done = python(f"""
        import sys
        from avol.apps import cli
        try:
            cli.main({arguments!r})
        except SystemExit as exit:
            assert exit.code == 0, exit.code
        parts = "avol.apps.{[*arguments, ""][0]}_"  # a command may have more than one module
        mine = sorted(name for name in sys.modules if name.startswith("avol.apps.") and not name.startswith(parts))
        print(mine, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
    """)
    modules = [cli.COMMANDS[arguments[0]].module] if arguments[0] in cli.COMMANDS else []
    assert done.stderr.strip() == f"{sorted(['avol.apps.cli', *modules])} []"
    assert done.stdout


def test_the_run_of_a_command_imports_only_its_own_module(command: ModuleType) -> None:
    before = {name for name in sys.modules if name.startswith("avol.apps.")}
    assert cli.main(["fake"]) == 0
    assert {name for name in sys.modules if name.startswith("avol.apps.")} == before


def test_help_lists_every_command_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(["--help"])
    assert exit.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in cli.COMMANDS.items():
        assert any(re.fullmatch(rf"\s+{name}\s+{re.escape(command.help)}", line) for line in lines), name


def test_arguments_and_status_of_a_command(command: ModuleType) -> None:
    command.run = lambda arguments: arguments.number
    assert cli.main(["fake", "--number", "7"]) == 7
    assert cli.main(["fake"]) == 3
    assert cli.main_run(["--number", "5"]) == 5
    command.run = lambda arguments: None
    assert cli.main(["fake"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["--unknown"], ["--unknown", "fake"], ["fake", "--num", "1"], ["fake", "--number", "x"]],
)
def test_usage_mistakes_exit_with_2(
    command: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("usage: avol")
    assert captured.out == ""


def test_a_usage_mistake_found_by_the_command_exits_with_2(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(command, argparse.ArgumentError(None, "--number and --letter exclude each other"))
    with pytest.raises(SystemExit) as exit:
        cli.main(["fake"])
    assert exit.value.code == 2
    assert capsys.readouterr().err.endswith("avol fake: error: --number and --letter exclude each other\n")


def test_a_users_mistake_is_one_line_and_1(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    raising(command, AvolError("clip.mp4: is empty;\n  give a video."))
    assert cli.main(["fake"]) == 1
    assert cli.main_run([]) == 1
    captured = capsys.readouterr()
    assert captured.err == "avol fake: clip.mp4: is empty; give a video.\navol-run: clip.mp4: is empty; give a video.\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("package", "extra"),
    [("torch", "export"), ("onnxruntime", "cpu"), ("gradio", "demo"), ("cuda.bindings", "tensorrt")],
)
def test_a_missing_optional_package_names_the_extra(
    command: ModuleType, capsys: pytest.CaptureFixture[str], package: str, extra: str
) -> None:
    raising(command, ModuleNotFoundError(f"No module named {package!r}", name=package))
    assert cli.main(["fake"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(f"avol fake: {package.partition('.')[0]} is not installed")
    assert f"pip install '.[{extra}]'" in message


@pytest.mark.parametrize("error", [RuntimeError("broken"), ModuleNotFoundError("No module", name="avol.nothing")])
def test_bugs_are_not_hidden(command: ModuleType, error: Exception) -> None:
    raising(command, error)
    with pytest.raises(type(error)):
        cli.main(["fake"])


def test_every_optional_package_is_in_the_extras_that_the_table_names(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    distributions = {"cuda": "cuda-bindings", "tensorrt_rtx": "tensorrt-rtx-cu13", "yt_dlp": "yt-dlp"}
    for package, extras in cli.EXTRAS_WITH.items():
        for extra in extras:
            named = {re.match(r"[\w-]+", requirement)[0] for requirement in optional[extra]}
            wanted = distributions.get(package, package)
            assert named & {wanted, f"{wanted}-gpu"}, f"{extra} does not bring {package}"
    assert {command.extra for command in cli.COMMANDS.values()} <= optional.keys()


FAKE = """
    import sys, time, types
    from avol.apps import cli
    module = types.ModuleType("fake_command")
    module.add_arguments = lambda parser: None
    def run(arguments):
        {body}
    module.run = run
    sys.modules["fake_command"] = module
    cli.COMMANDS["fake"] = cli.Command(module="fake_command", help="", extra="cpu")
    sys.exit(cli.main(["fake"]))
"""


def test_an_interrupt_exits_with_130_and_no_traceback() -> None:
    code = textwrap.dedent(FAKE.format(body="print('ready', flush=True); time.sleep(60)"))
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip() == "avol: interrupted"


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_gone_ends_the_program_quietly(monkeypatch: pytest.MonkeyPatch, buffered: bool) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "" if buffered else "1")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = python(FAKE.format(body="print('one line')"), stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_installed_commands_lead_here(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {
        "avol": "avol.apps.cli:main",
        "avol-run": "avol.apps.cli:main_run",
        "avol-demo": "avol.apps.cli:main_demo",
    }


COMPLETE = """
eval "$({python} -m avol completion bash)"
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_{program} >/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("program", "words", "wanted"),
    [
        ("avol_run", "avol-run --st", {"--start", "--strip", "--style"}),
        ("avol_run", "avol-run --style s", {"side-by-side"}),
        ("avol", "avol ex", {"export"}),
        ("avol", "avol export --preci", {"--precision"}),
    ],
)
def test_bash_completes(program: str, words: str, wanted: set[str]) -> None:
    script = COMPLETE.format(python=shlex.quote(sys.executable), program=program, words=words)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert set(done.stdout.split()) == wanted, done.stderr
