"""OpenCV is loaded when it is first used, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from avol.runtime import opencv
from avol.runtime.errors import AvolError


def test_a_run_is_set_up_without_it() -> None:
    script = "import sys, avol.apps.run, avol.runtime.pipeline; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_was_used_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = type(opencv.cv2)()
    flip = lazy.flip
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert lazy.flip is flip


def test_one_that_does_not_load_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(AvolError, match=r"^OpenCV does not load \(.+\); `avol doctor` says what is installed\.$"):
        _ = type(opencv.cv2)().flip


def test_what_it_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = opencv.cv2.no_such_function
