"""The demo over HTTP: every endpoint, bad requests, who may ask, what stays behind; without a browser."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from avol.runtime.model_folder import bundled_sample
from demo_server import DemoServer, demo_server
from media_factory import AudioTrack, VideoTrack, bursts, write_media

KEEP_SECONDS = 12
ENDPOINTS = {"analyse_video", "example_video", "cancel", "analyse_picture", "example_picture"}
ENDPOINTS |= {"live_frame", "live_sound", "model_card"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    arguments = ("--keep-minutes", str(KEEP_SECONDS / 60), "--max-seconds", "20", "--max-megabytes", "1")
    with demo_server(tmp_path_factory.mktemp("demo"), *arguments) as running:
        yield running
        assert running.foreign.read_text(encoding="utf-8") == "", "the server tried to reach other machines"


@pytest.fixture(scope="module")
def client(server: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with_client = client_of(server, tmp_path_factory.mktemp("client"))
    yield with_client
    with_client.close()


def client_of(server: DemoServer, folder: Path, **options: Any) -> Client:
    return Client(server.url, download_files=str(folder), verbose=False, **options)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sound = AudioTrack(samples=bursts([0.3], seconds=1.0, sample_rate=16000), sample_rate=16000, codec="aac")
    return write_media(tmp_path_factory.mktemp("clip") / "clip.mp4", VideoTrack(seconds=1.0), sound)


@pytest.fixture(scope="module")
def calls(client: Client, clip: Path) -> dict[str, Callable[[], Any]]:
    """A good request to every endpoint."""
    picture, guitar, horn = (handle_file(path) for path in client.predict(api_name="/example_picture"))
    return {
        "analyse_video": lambda: client.predict(handle_file(clip), 10, 0.5, api_name="/analyse_video"),
        "example_video": lambda: client.predict(api_name="/example_video"),
        "cancel": lambda: client.predict(api_name="/cancel"),
        "analyse_picture": lambda: client.predict(picture, guitar, horn, api_name="/analyse_picture"),
        "example_picture": lambda: client.predict(api_name="/example_picture"),
        "live_frame": lambda: client.predict(picture, api_name="/live_frame"),
        "live_sound": lambda: client.predict(guitar, api_name="/live_sound"),
        "model_card": lambda: client.predict(api_name="/model_card"),
    }


def test_every_endpoint_has_a_name_and_a_test(client: Client) -> None:
    found = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    assert set(found) == {f"/{name}" for name in ENDPOINTS}


def test_a_video(client: Client) -> None:
    sample = handle_file(bundled_sample())
    video, summary, score, intervals, timeline = client.predict(sample, 5, 0.5, api_name="/analyse_video")
    assert Path(video).read_bytes()[4:8] == b"ftyp"
    assert "analysed frames sound" in summary
    assert score.startswith("<svg")
    assert intervals.count("<tr>") >= 3  # the heading and what sounds
    found = json.loads(Path(timeline).read_text(encoding="utf-8"))
    assert found["source"]["path"] == "two-instruments.mp4"
    assert found["analysis"]["rate_hz"] == 5


def test_a_picture_and_two_sounds(calls: dict[str, Callable[[], Any]]) -> None:
    shown_a, said_a, shown_b, said_b = calls["analyse_picture"]()
    assert "left" in said_a
    assert "right" in said_b
    assert Path(shown_a).stat().st_size
    assert Path(shown_b).stat().st_size


def test_camera_and_microphone(calls: dict[str, Callable[[], Any]]) -> None:
    calls["live_sound"]()
    shown, said = calls["live_frame"]()
    assert "data:image/jpeg;base64," in shown
    assert "Score" in said


def test_the_other_endpoints(calls: dict[str, Callable[[], Any]]) -> None:
    assert "onnxruntime" in calls["model_card"]()
    assert "Model card" in calls["model_card"]()
    assert calls["cancel"]() == "Cancelled."
    assert calls["example_video"]()


def bad_requests(client: Client, folder: Path) -> dict[str, tuple[Callable[[], Any], str]]:
    """Requests that cannot be met, and what is said of each."""
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "letter.mp4").write_text("Dear reader, " * 50, encoding="utf-8")
    wave = AudioTrack(samples=bursts([0.2], seconds=0.5, sample_rate=16000), sample_rate=16000, codec="pcm_s16le")
    sound = write_media(folder / "sound.wav", None, wave)
    long = write_media(folder / "long.mp4", VideoTrack(seconds=21.0, rate=2))

    def video(name: str, rate_hz: float = 10, threshold: float = 0.5) -> Callable[[], Any]:
        return lambda: client.predict(handle_file(folder / name), rate_hz, threshold, api_name="/analyse_video")

    def picture(name: str, sound_name: str) -> Callable[[], Any]:
        files = (handle_file(folder / name), handle_file(folder / sound_name))
        return lambda: client.predict(*files, None, api_name="/analyse_picture")

    return {
        "no video": (lambda: client.predict(None, 10, 0.5, api_name="/analyse_video"), "none given"),
        "empty": (video("empty.mp4"), "empty.mp4: the file is empty"),
        "letter": (video("letter.mp4"), "letter.mp4: "),
        "sound": (video(sound.name), "sound.wav: no video stream"),
        "long": (video(long.name), "up to 20 s"),
        "no picture": (picture("letter.mp4", sound.name), "letter.mp4: "),
        "no sound": (picture(long.name, "letter.mp4"), "letter.mp4: "),
    }


def test_bad_requests_get_a_sentence_and_the_next_one_works(
    client: Client, server: DemoServer, tmp_path: Path, calls: dict[str, Callable[[], Any]]
) -> None:
    for name, (call, says) in bad_requests(client, tmp_path).items():
        with pytest.raises(AppError) as raised:
            call()
        message = str(raised.value)
        assert says in message, name
        assert str(server.temporary) not in message
        assert "Traceback" not in message
    assert server.process.poll() is None
    assert calls["analyse_video"]()
    assert "Traceback" not in server.errors.read_text(encoding="utf-8")


def test_a_file_that_is_too_large_is_refused_with_the_limit(client: Client, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_200_000))
    with pytest.raises(Exception, match=r"maximum file size of 1048576 bytes"):
        client.predict(handle_file(large), 10, 0.5, api_name="/analyse_video")


def test_it_listens_on_this_machine_alone(server: DemoServer) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    listening = {
        row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == server.port
    }
    assert listening == {"0100007F"}


def test_libraries_report_nothing(server: DemoServer) -> None:
    """Native code passes by the guard on Python's sockets; what it would send it collects in these places first."""
    kept = [path for path in server.home.rglob("*") if path.is_file() and "matplotlib" not in path.parts]  # its fonts
    assert kept == []
    assert [path.name for path in server.temporary.iterdir() if not path.name.startswith("avol-demo-")] == []


def fetch(url: str) -> tuple[int, dict[str, str], str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, dict(answer.headers.items()), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers.items()), ""


def test_the_page_keeps_browsers_to_itself(server: DemoServer) -> None:
    status, headers, page = fetch(server.url)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert '"analytics_enabled":false' in page.replace(" ", "")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", "{cwd}/pyproject.toml"])
def test_files_of_the_machine_are_not_served(server: DemoServer, repository: Path, path: str) -> None:
    status, _, page = fetch(f"{server.url}/gradio_api/file={path.format(cwd=repository)}")
    assert status in (403, 404)
    assert "root:" not in page


def test_names_and_passwords_and_a_proxy(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text("ada:lovelace\n\ngrace:hopper:navy\n", encoding="utf-8")
    with demo_server(tmp_path, "--auth-file", str(people), "--root-path", "/sound") as server:
        status, _, _ = fetch(f"{server.url}/gradio_api/info")
        assert status == 401
        with pytest.raises(Exception, match=r"(?i)auth|credentials|401"):
            client_of(server, tmp_path)
        (folder,) = server.temporary.glob("avol-demo-*")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert server.process.returncode == 128 + 15
    assert list(server.temporary.iterdir()) == [], "its folder goes with it"
    assert "lovelace" not in server.errors.read_text(encoding="utf-8")


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "avol", "demo", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {port}: cannot be listened on" in done.stderr


def test_a_soak_leaves_nothing_behind(server: DemoServer, clip: Path, tmp_path: Path) -> None:
    """Good and bad requests of several visitors; ``benchmarks/demo_soak.py`` is the long one."""

    def round_of_visitors() -> None:
        for number in range(3):
            folder = tmp_path / f"{time.monotonic_ns()}-{number}"
            folder.mkdir()
            visitor = client_of(server, folder)
            for call, _ in bad_requests(visitor, folder).values():
                with pytest.raises(AppError):
                    call()
            visitor.predict(handle_file(clip), 10, 0.5, api_name="/analyse_video")
            visitor.predict(api_name="/example_picture")
            visitor.close()

    round_of_visitors()
    before = server.resources()
    round_of_visitors()
    deadline = time.monotonic() + 20 * KEEP_SECONDS
    while server.files() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert server.files() == []
    after = server.resources()
    assert after["threads"] <= before["threads"] + 4  # workers that wait for the next request
    assert after["descriptors"] <= before["descriptors"] + 4
    assert after["kilobytes"] <= before["kilobytes"] + 60_000
