"""The demo in a real browser: what a visitor sees, plays, downloads, and what the browser asks of whom."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from avol.runtime.model_folder import bundled_sample
from avol.train.scenes.sample import TURNS, sample_scene
from conftest import BROWSERS, required
from demo_server import DemoServer, demo_server
from media_factory import AudioTrack, VideoTrack, bursts, write_media

pytestmark = pytest.mark.browser

WAIT_MILLISECONDS = 120_000
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
ARGUMENTS += ("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required")

# Where two videos differ at a time: the middle of the difference, in fractions of the picture, and its sum.
DIFFERENCE = """
async ([seconds]) => {
  const pixels = [];
  for (const id of ["video-in", "video-out"]) {
    const video = document.querySelector(`#${id} video`);
    const seeked = new Promise((done) => video.addEventListener("seeked", done, {once: true}));
    video.currentTime = seconds;
    // On a busy machine the picture comes after the event.
    const shown = new Promise((done) => {
      const look = (_, {mediaTime}) =>
        Math.abs(mediaTime - seconds) < 0.1 ? done() : video.requestVideoFrameCallback(look);
      video.requestVideoFrameCallback(look);
      setTimeout(done, 2000);
    });
    await Promise.all([seeked, shown]);
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [64, 36];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, 64, 36);
    pixels.push(context.getImageData(0, 0, 64, 36).data);
  }
  let [sum, x, y] = [0, 0, 0];
  for (let i = 0; i < 64 * 36; i++) {
    const d = [0, 1, 2].reduce((a, c) => a + Math.abs(pixels[0][4 * i + c] - pixels[1][4 * i + c]), 0);
    const weight = d > 60 ? d : 0;  // less is the noise of the encoder
    sum += weight; x += weight * (i % 64 + 0.5) / 64; y += weight * (Math.floor(i / 64) + 0.5) / 36;
  }
  return [sum, x / sum, y / sum];
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with demo_server(tmp_path_factory.mktemp("demo"), "--max-seconds", "100") as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright

    camera, microphone = devices(tmp_path_factory.mktemp("devices"))
    arguments = [*ARGUMENTS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments += [f"--use-file-for-fake-video-capture={camera}", f"--use-file-for-fake-audio-capture={microphone}"]
    installed = next((path for name in BROWSERS[:3] if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        chromium = launched(playwright.chromium, executable_path=installed, args=arguments)
        yield chromium
        chromium.close()


def launched(kind: Any, **options: Any) -> Any:
    """A browser that runs here and plays the demo's videos; without one the tests are skipped, or fail if required."""
    from playwright.sync_api import Error

    try:
        browser = kind.launch(timeout=WAIT_MILLISECONDS, **options)
    except Error as error:
        lack = f"the browser does not start: {str(error).splitlines()[0]}"
    else:
        page = browser.new_page()
        if page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.42E01E, mp4a.40.2\"')"):
            page.close()
            return browser
        browser.close()
        lack = "the browser plays no H.264: take Debian's Chromium or Chrome"
    if "browser" in required():
        pytest.fail(lack)
    pytest.skip(lack)


def devices(folder: Path) -> tuple[Path, Path]:
    """The bundled sample as the files that a browser takes for a camera and a microphone."""
    camera, microphone = folder / "camera.mjpeg", folder / "microphone.wav"
    with av.open(str(bundled_sample())) as sample, camera.open("wb") as file:
        for frame in sample.decode(video=0):
            file.write(cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes())
    resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
    with av.open(str(bundled_sample())) as sample, wave.open(str(microphone), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        for sound in sample.decode(audio=0):
            for block in resampler.resample(sound):
                file.writeframes(block.to_ndarray().tobytes())
    return camera, microphone


@pytest.fixture
def page(browser: Any, server: DemoServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A new visitor's page. Whatever the test does, the browser asks nobody but the server for anything."""
    size = getattr(request, "param", (1280, 1000))
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        has_touch=size[0] < 500,
        accept_downloads=True,
        permissions=["camera", "microphone"],
        base_url=server.url,
    )
    asked: list[str] = []
    broken: list[str] = []
    context.on("request", lambda sent: asked.append(sent.url))
    page = context.new_page()
    page.set_default_timeout(WAIT_MILLISECONDS)
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto("/")
    page.locator("#video-run").wait_for()
    yield page
    context.close()
    assert any(url.startswith(f"{server.url}/assets/") for url in asked)
    assert [url for url in asked if not url.startswith((f"{server.url}/", "data:", "blob:"))] == []
    assert broken == []


def upload(page: Any, place: str, path: Path) -> None:
    page.locator(f"{place} input[type=file]").first.set_input_files(path)


def message(page: Any, says: str) -> str:
    """The message on the page that says this, whole."""
    return str(page.locator(".toast-body.error").filter(has_text=says).first.inner_text())


def test_a_video_from_upload_to_download(page: Any, tmp_path: Path) -> None:
    upload(page, "#video-in", bundled_sample())
    page.locator("#video-in video").wait_for()
    page.locator("#video-run").click()
    page.locator("#video-score svg").wait_for()
    page.wait_for_function("document.querySelector('#video-out video')?.readyState >= 2")
    page.wait_for_function("document.querySelector('#video-in video')?.readyState >= 2")
    heat = {}
    for actor, start, end in TURNS[:2]:
        seconds = (start + end) / 2
        heat[actor], x, y = page.evaluate(DIFFERENCE, [seconds])
        _, (x0, y0, x1, y1), sounding = sample_scene().boxes(seconds)[actor]
        assert sounding
        assert x0 <= x <= x1
        assert y0 <= y <= y1
    quiet, _, _ = page.evaluate(DIFFERENCE, [8.9])
    assert quiet < min(heat.values()) / 20
    page.evaluate("const v = document.querySelector('#video-out video'); v.muted = true; v.currentTime = 0; v.play()")
    page.wait_for_function("document.querySelector('#video-out video').currentTime > 0.5")
    said = page.locator("#video-intervals tbody").inner_text()
    assert "left, " in said
    assert "right, " in said
    with page.expect_download() as download:
        page.locator("#video-json").click()
    download.value.save_as(tmp_path / "timeline.json")
    assert download.value.suggested_filename == "two-instruments.avol.json"
    timeline = json.loads((tmp_path / "timeline.json").read_text(encoding="utf-8"))
    assert timeline["source"]["path"] == "two-instruments.mp4"
    assert len(timeline["frames"]) > 80


def test_bad_uploads_get_a_sentence_and_the_next_request_works(page: Any, tmp_path: Path) -> None:
    page.locator("#video-run").click()
    assert "Upload one" in message(page, "none given yet")
    name = "<b>letter<b>.mp4"
    (tmp_path / name).write_text("Dear reader, " * 50, encoding="utf-8")
    upload(page, "#video-in", tmp_path / name)
    page.locator("#video-in video").wait_for(state="attached")
    page.locator("#video-run").click()
    assert "/tmp" not in message(page, "Give a video such as MP4")
    page.locator("#video-example").click()
    page.locator("#video-score svg").wait_for()


def test_cancel_frees_the_model_for_the_next_request(page: Any, tmp_path: Path) -> None:
    sound = AudioTrack(samples=bursts([1.0], seconds=95.0, sample_rate=8000), sample_rate=8000, codec="aac")
    upload(page, "#video-in", write_media(tmp_path / "long.mp4", VideoTrack(seconds=95.0), sound))
    page.locator("#video-in video").wait_for()
    page.locator("#video-run").click()
    page.get_by_text("Listening and looking").first.wait_for()
    page.locator("#video-cancel").click()
    page.locator("#video-summary").get_by_text("Cancelled.").wait_for()
    assert page.locator("#video-score svg").count() == 0
    page.locator("#video-example").click()
    page.locator("#video-score svg").wait_for()
    assert "9.0 s in" in page.locator("#video-summary").inner_text()


@pytest.mark.parametrize("page", [(390, 844)], indirect=True)
def test_a_phone_and_a_keyboard(page: Any) -> None:
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    page.get_by_role("tab", name="Picture + sound").or_(
        page.get_by_role("button", name="Picture + sound")
    ).first.focus()
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "picture-example":
            break
    page.keyboard.press("Enter")
    page.locator("#score-b").get_by_text("Score").wait_for()
    assert "left" in page.locator("#score-a").inner_text()
    assert "right" in page.locator("#score-b").inner_text()
    assert not page.evaluate(wide)


def test_camera_and_microphone(page: Any) -> None:
    page.get_by_role("tab", name="Live").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera button").filter(has_text="Record").click()
    page.locator("#live-out img").wait_for()
    page.locator("#microphone button").filter(has_text="Record").click()
    page.locator("#live-score").get_by_text("something in the picture sounds").wait_for()


def test_the_model_tab(page: Any) -> None:
    page.get_by_role("tab", name="Model").click()
    page.get_by_text("How well it does").wait_for()
    assert "onnxruntime" in page.locator(".avol-card").first.inner_text()
