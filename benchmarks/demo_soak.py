"""Send many good and bad requests to the demo, and see what of memory, threads, descriptors and files stays.

``python benchmarks/demo_soak.py [--requests 200] [--json FILE]`` (with the extras cpu and demo)
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from records import publish

from avol.runtime.model_folder import bundled_sample

KEEP_SECONDS = 12.0
REQUESTS_OF_A_VISITOR = 10
WARM_UP_REQUESTS = 40


def main() -> None:
    """Read the command line, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the result there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="demo-soak-") as name:
        result = soak(Path(name), arguments.requests)
    publish(result, arguments.json)


def soak(folder: Path, requests: int) -> dict[str, Any]:
    """Run a server and send the requests; what it holds before and after."""
    command = [sys.executable, "-m", "avol", "demo", "--port", "0", "--keep-minutes", str(KEEP_SECONDS / 60)]
    (folder / "server").mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "server")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline() + server.stdout.readline())
            assert address is not None, "the server did not start"
            send(address[0], folder, WARM_UP_REQUESTS)
            before = held(server.pid, folder / "server")
            refused = send(address[0], folder, requests)
            after = held(server.pid, folder / "server")
        finally:
            server.send_signal(signal.SIGTERM)
    return {"requests": requests, "refused": refused, "before": before, "after": after}


def send(url: str, folder: Path, requests: int) -> int:
    """Send mixed requests as several visitors, one after the other; gives the number of those that were refused."""
    refused = sent = 0
    while sent < requests:
        client = Client(url, verbose=False, download_files=tempfile.mkdtemp(dir=folder))
        for request in itertools.islice(mixed(client, folder), min(REQUESTS_OF_A_VISITOR, requests - sent)):
            sent += 1
            try:
                request()
            except AppError:
                refused += 1
        client.close()
    return refused


def mixed(client: Client, folder: Path) -> Iterator[Callable[[], Any]]:
    """Good and bad requests in turn, without end."""
    letter, silence = folder / "letter.mp4", folder / "silence.wav"
    letter.write_text("Dear reader, " * 50, encoding="utf-8")
    with wave.open(str(silence), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    sample = handle_file(bundled_sample())
    while True:
        yield lambda: client.predict(sample, 2, 0.5, api_name="/analyse_video")
        yield lambda: client.predict(handle_file(letter), 10, 0.5, api_name="/analyse_video")
        yield lambda: client.predict(sample, sample, handle_file(silence), api_name="/analyse_picture")
        yield lambda: client.predict(handle_file(letter), handle_file(silence), None, api_name="/analyse_picture")
        yield lambda: client.predict(handle_file(silence), api_name="/live_sound")
        yield lambda: client.predict(handle_file(letter), api_name="/live_frame")
        yield lambda: client.predict(None, 10, 0.5, api_name="/analyse_video")
        yield lambda: client.predict(api_name="/model_card")


def held(process: int, folder: Path) -> dict[str, int]:
    """What the server holds once its sweeper has been round."""
    time.sleep(3 * KEEP_SECONDS)
    proc = Path("/proc") / str(process)
    resident = re.search(r"^VmRSS:\s+(\d+) kB", (proc / "status").read_text(encoding="utf-8"), re.MULTILINE)
    assert resident is not None
    return {
        "resident_kilobytes": int(resident[1]),
        "threads": len(list((proc / "task").iterdir())),
        "descriptors": len(list((proc / "fd").iterdir())),
        "files": sum(path.is_file() for path in folder.rglob("*")),
    }


if __name__ == "__main__":
    main()
