"""What AVOL_REQUIRE means: absent things skip a test, or fail it where they are required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.shared
def test_marked(): pass

def test_fixture(shared_data): assert shared_data.name == "data"

def test_plain(): pass
"""


@pytest.fixture
def outcome(tmp_path: Path, repository: Path):  # noqa: ANN201 (a closure)
    """Run the three tests above in a folder with this conftest.py; gives pytest's exit status and its output."""
    folder = tmp_path / "clone" / "tests"
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_bytes((repository / "tests" / "conftest.py").read_bytes())
    (folder / "test_three.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = shared", encoding="utf-8")

    def run(require: str) -> tuple[int, str]:
        environment = {**os.environ, "AVOL_REQUIRE": require}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_absent_things_skip_with_a_reason(outcome) -> None:  # noqa: ANN001
    status, output = outcome("")
    assert status == 0
    assert "1 passed, 2 skipped" in output
    assert "no measuring material" in output


def test_absent_things_fail_where_required(outcome) -> None:  # noqa: ANN001
    status, output = outcome("shared")
    assert status == 1
    assert "AVOL_REQUIRE names shared" in output
    assert "1 passed" in output
    assert "skipped" not in output


def test_present_things_run(outcome, tmp_path: Path) -> None:  # noqa: ANN001
    (tmp_path / "shared" / "data").mkdir(parents=True)
    for require in ("", "shared"):
        status, output = outcome(require)
        assert status == 0
        assert "3 passed" in output


def test_unknown_names_are_a_usage_error(outcome) -> None:  # noqa: ANN001
    status, output = outcome("shared,gpus")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "gpus" in output
    assert "gpu, browser, shared" in output
