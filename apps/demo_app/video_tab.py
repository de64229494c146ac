"""The tab that analyses a video."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from avol.apps.demo_app import chart
from avol.apps.demo_app.clip import RATES_HZ, CancelledError, ClipResult, analyse_video
from avol.apps.demo_app.desk import Desk, plain
from avol.apps.demo_app.examples import example_video
from avol.apps.demo_app.requests import MODEL_QUEUE, mistakes_as_messages, required, visitor_of

CANCELLED = "Cancelled."


def build_video_tab(desk: Desk) -> None:
    """Upload or recording on the left; overlay video, score, intervals and the timeline on the right."""
    limits = desk.limits
    with gr.Row():
        with gr.Column(min_width=300):
            video = gr.Video(
                label="Video",
                sources=["upload", "webcam"],
                webcam_options=gr.WebcamOptions(mirror=False),
                elem_id="video-in",
            )
            gr.Markdown(f"Up to {limits.duration_seconds:g} s and {limits.megabytes:g} MB, with sound.")
            with gr.Row():
                run = gr.Button("Find the sound", variant="primary", elem_id="video-run", min_width=120)
                cancel = gr.Button("Cancel", elem_id="video-cancel", min_width=120)
            example = gr.Button("Try the example: two instruments", elem_id="video-example")
            with gr.Accordion("Settings", open=False):
                rate = gr.Slider(*RATES_HZ, value=10.0, step=0.5, label="Analyses a second")
                threshold = gr.Slider(
                    0.0, 1.0, value=desk.system.spec.threshold, step=0.01, label="Threshold: the score that sounds"
                )
        with gr.Column(min_width=300):
            shown = gr.Video(
                label="Where it sounds", interactive=False, buttons=["download"], autoplay=False, elem_id="video-out"
            )
            gr.HTML(chart.legend(), padding=False)
            summary = gr.HTML(label="Summary", elem_id="video-summary", padding=False)
            score = gr.HTML(label="Score", elem_id="video-score", padding=False)
            intervals = gr.HTML(label="Intervals", elem_id="video-intervals", padding=False)
            timeline = gr.DownloadButton("Download the timeline (JSON)", interactive=False, elem_id="video-json")
    outputs = [shown, summary, score, intervals, timeline]

    def analyse(
        video: str | None,
        rate_hz: float,
        threshold: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio finds it)
    ) -> tuple[Any, ...]:
        with mistakes_as_messages(video):
            path = required(video, "video")
            try:
                with desk.job(visitor_of(request), "video", path) as (folder, cancelled):
                    found = analyse_video(
                        desk.system,
                        path,
                        folder,
                        rate_hz=rate_hz,
                        threshold=threshold,
                        limits=limits,
                        progress=lambda share: progress(share, desc="Listening and looking"),
                        cancelled=cancelled,
                    )
                    return _shown(found, path)
            except CancelledError:
                return (None, CANCELLED, "", "", None)
        raise AssertionError("unreachable")

    def stop(request: gr.Request) -> str:
        desk.cancel(visitor_of(request))
        return CANCELLED

    def take_example() -> str:
        with mistakes_as_messages():
            return str(example_video(desk.folder.new_results()))

    inputs = [video, rate, threshold]
    busy: dict[str, Any] = {"show_progress_on": shown, "show_progress": "full"}
    by_hand = run.click(analyse, inputs, outputs, api_name="analyse_video", **busy, **MODEL_QUEUE)
    taken = example.click(take_example, None, video, api_name="example_video")
    by_example = taken.success(analyse, inputs, outputs, api_visibility="private", **busy, **MODEL_QUEUE)
    for event in (by_hand, by_example):
        # Not with the results: programs are to get the path alone.
        event.then(
            lambda score: gr.DownloadButton(interactive=bool(score)),
            score, timeline, api_visibility="private", queue=False, show_progress="hidden",
        )  # fmt: skip
    cancel.click(
        stop, None, summary, api_name="cancel", queue=False, show_progress="hidden", cancels=[by_hand, by_example]
    )


def _shown(found: ClipResult, path: Any) -> tuple[Any, ...]:  # noqa: ANN401
    summary = found.summary
    silent = f" No sound to hear: {html.escape(summary.silence)}." if summary.silence else ""
    lines = [
        f"{summary.duration_seconds:.1f} s in {summary.elapsed_seconds:.1f} s: {summary.sounding} of "
        f"{summary.analysed} analysed frames sound.{silent}",
        *(html.escape(plain(note, path)) for note in summary.notes),
    ]
    return (
        str(found.video),
        "".join(f"<p>{line}</p>" for line in lines),
        chart.score_chart(
            found.times_seconds, found.scores, found.threshold, found.intervals, summary.duration_seconds
        ),
        chart.interval_table(found.intervals),
        str(found.timeline),
    )
