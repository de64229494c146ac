"""The tab that looks through the webcam and listens to the microphone."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from numpy.typing import NDArray

from avol.apps.demo_app.desk import Desk
from avol.apps.demo_app.live import LiveResult, live_frame, live_sound
from avol.apps.demo_app.requests import mistakes_as_messages, take_files_as_they_are, visitor_of
from avol.runtime.errors import AvolError

EVERY_SECONDS = 0.2
VISITORS = 2  # cameras at a time; others wait
LONGEST_SECONDS = 300  # then a camera makes room for the next one in the queue
JPEG_QUALITY = 85


def build_live_tab(desk: Desk) -> None:
    """Camera and microphone on the left, the picture with its heat on the right."""
    gr.Markdown(
        "Start the camera and the microphone. The picture that is shown is half a second old: it is the one from the "
        "middle of the second that was heard. A browser gives camera and microphone only to pages of this machine and "
        "to pages with HTTPS."
    )
    with gr.Row():
        with gr.Column(min_width=300):
            camera = gr.Image(
                label="Camera",
                sources=["webcam"],
                streaming=True,
                type="numpy",
                buttons=[],
                webcam_options=gr.WebcamOptions(mirror=False),
                elem_id="camera",
            )
            microphone = gr.Audio(
                label="Microphone",
                sources=["microphone"],
                streaming=True,
                type="numpy",
                buttons=[],
                elem_id="microphone",
            )
            _say_what_is_wrong(camera)
            take_files_as_they_are(microphone)
        with gr.Column(min_width=300):
            shown = gr.HTML(label="Picture with heat", elem_id="live-out", padding=False)
            score = gr.HTML(label="Score", elem_id="live-score", padding=False)

    def look(pixels: NDArray[np.uint8] | None, request: gr.Request) -> tuple[str, str]:
        with mistakes_as_messages():
            if pixels is None:
                raise AvolError("camera: no picture yet. Start the camera.")
            found = live_frame(desk.localiser, desk.live.buffer_of(visitor_of(request)), pixels)
            return _as_html(found), _described(found)
        raise AssertionError("unreachable")

    def listen(sound: str | None, request: gr.Request) -> None:
        if sound is None:
            return
        with mistakes_as_messages(sound):
            try:
                live_sound(desk.localiser, desk.live.buffer_of(visitor_of(request)), Path(sound), limits=desk.limits)
            finally:
                Path(sound).unlink(missing_ok=True)  # five a second

    stream: dict[str, Any] = {
        "stream_every": EVERY_SECONDS,
        "time_limit": LONGEST_SECONDS,
        "concurrency_limit": VISITORS,
        "show_progress": "hidden",
    }
    camera.stream(look, camera, [shown, score], api_visibility="private", **stream)
    microphone.stream(listen, microphone, None, api_visibility="private", **stream)
    # Programs send one picture or one piece of sound at a time; streams are for browsers.
    programs = gr.Button(visible=False)
    programs.click(look, camera, [shown, score], api_name="live_frame")
    programs.click(listen, microphone, None, api_name="live_sound")


def _say_what_is_wrong(camera: gr.Image) -> None:
    """A picture that does not decode gets a sentence."""
    decode = camera.preprocess

    def guarded(payload: Any) -> Any:  # noqa: ANN401 (as in the component)
        with mistakes_as_messages():
            try:
                return decode(payload)
            except (OSError, ValueError, SyntaxError):  # of the decoder
                raise AvolError("camera: a picture that cannot be read. Give a JPEG or PNG.") from None

    camera.preprocess = guarded  # type: ignore[method-assign]


def _as_html(found: LiveResult) -> str:
    """The picture inside the page: five files a second would be a burden."""
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(found.picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    )
    coded = base64.b64encode(data.tobytes()).decode("ascii")
    return f'<img class="avol-live" alt="The camera\'s picture with heat" src="data:image/jpeg;base64,{coded}">'


def _described(found: LiveResult) -> str:
    if found.score is None:
        return "<p>No sound arrives: start the microphone.</p>"
    return f"<p><strong>Score {found.score:.2f}</strong>{': something in the picture sounds' * found.sounding}</p>"
