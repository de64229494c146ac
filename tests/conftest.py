"""What all tests share: what a machine may lack, and how many threads the libraries take.

Tests marked ``gpu``, ``browser``, ``shared`` or ``triton`` skip where that is absent. Where it has to be there, say
so, and they fail instead: ``AVOL_REQUIRE=gpu,shared make test``.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox")
MAX_THREADS = 4  # more do not help networks of this size


def _share_the_cores() -> None:
    """Give each test process its share of the cores; OpenMP reads this when torch or NumPy is first imported."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = max(1, min(MAX_THREADS, len(os.sched_getaffinity(0)) // workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin beside a busy core stall each other


_share_the_cores()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: what the tests start, and interrupt, would ignore it as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A developer's run looks for new failures; in continuous integration the same commit always has the same answer.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def _lacks_gpu() -> str | None:
    """Why the CUDA driver cannot be used, None if it can."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1)"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver finds no GPU"
    return None


def _lacks_browser() -> str | None:
    downloads = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright"))
    if any(map(shutil.which, BROWSERS)) or any(downloads.glob("chromium*")):
        return None
    return f"no browser (looked for {', '.join(BROWSERS)} and Playwright's Chromium)"


def _lacks_shared() -> str | None:
    return None if SHARED_DATA.is_dir() else f"no measuring material: {SHARED_DATA} is not a folder"


def triton_server() -> Path:
    """NVIDIA Triton's binary: ``AVOL_TRITON_SERVER``, or what ``make triton`` fetched."""
    wheel = ROOT / "build" / "tritonserver"
    return Path(os.environ.get("AVOL_TRITON_SERVER") or wheel / "pytriton" / "tritonserver" / "bin" / "tritonserver")


def _lacks_triton() -> str | None:
    found = triton_server()
    return None if found.is_file() else f"no Triton server: {found} is not there; make triton fetches it"


LACKS: dict[str, Callable[[], str | None]] = {
    "gpu": functools.cache(_lacks_gpu),
    "browser": functools.cache(_lacks_browser),
    "shared": functools.cache(_lacks_shared),
    "triton": functools.cache(_lacks_triton),
}


def required() -> set[str]:
    """The names in ``AVOL_REQUIRE``."""
    names = {name.strip() for name in os.environ.get("AVOL_REQUIRE", "").split(",")} - {""}
    if unknown := names - LACKS.keys():
        raise pytest.UsageError(f"AVOL_REQUIRE names {sorted(unknown)}; it may name {', '.join(LACKS)}.")
    return names


def need(name: str) -> None:
    """Skip the test, or fail it if ``AVOL_REQUIRE`` names ``name``, where that is absent."""
    reason = LACKS[name]()
    if reason is None:
        return
    if name in required():
        pytest.fail(f"AVOL_REQUIRE names {name}, but: {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_configure() -> None:
    required()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in LACKS:
        if item.get_closest_marker(name):
            need(name)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measuring material beside the repository; the test is skipped where there is none."""
    need("shared")
    return SHARED_DATA
