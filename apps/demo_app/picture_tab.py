"""The tab that holds one picture against one or two sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import gradio as gr

from avol.apps.demo_app import chart
from avol.apps.demo_app.clip import Interval
from avol.apps.demo_app.desk import Desk
from avol.apps.demo_app.examples import example_picture, example_sounds
from avol.apps.demo_app.requests import MODEL_QUEUE, mistakes_as_messages, required, take_files_as_they_are, visitor_of
from avol.apps.demo_app.still import StillResult, analyse_picture

SOUNDS = ("A", "B")
FEWEST_IN_CHART = 8  # the score of a shorter sound is one number


def build_picture_tab(desk: Desk) -> None:
    """One picture, two sounds; the two results side by side."""
    limits = desk.limits
    with gr.Row():
        with gr.Column(min_width=300):
            picture = gr.Image(
                label="Picture",
                sources=["upload", "clipboard"],
                type="filepath",
                buttons=["fullscreen"],
                elem_id="picture-in",
            )
            take_files_as_they_are(picture)
            gr.Markdown(f"Up to {limits.picture_megapixels:g} million pixels.")
        with gr.Column(min_width=300):
            sounds = [
                gr.Audio(
                    label=f"Sound {name}" + (" (if you like)" if name == "B" else ""),
                    sources=["upload", "microphone"],
                    type="filepath",
                    buttons=[],
                    elem_id=f"sound-{name.lower()}",
                )
                for name in SOUNDS
            ]
            gr.Markdown(f"Up to {limits.sound_seconds:g} s each; files up to {limits.megabytes:g} MB.")
    with gr.Row():
        run = gr.Button("Find the sounds", variant="primary", elem_id="picture-run", min_width=120)
        example = gr.Button("Try the example: a guitar, then a horn", elem_id="picture-example", min_width=120)
    outputs: list[Any] = []
    with gr.Row():
        for name in SOUNDS:
            with gr.Column(min_width=300):
                outputs.append(
                    gr.Image(
                        label=f"Where sound {name} comes from",
                        interactive=False,
                        buttons=["download", "fullscreen"],
                        elem_id=f"found-{name.lower()}",
                    )
                )
                outputs.append(gr.HTML(label=f"Score of sound {name}", elem_id=f"score-{name.lower()}", padding=False))
    gr.HTML(chart.legend(), padding=False)

    def analyse(picture: str | None, sound_a: str | None, sound_b: str | None, request: gr.Request) -> tuple[Any, ...]:
        with mistakes_as_messages(picture, sound_a, sound_b):
            path = required(picture, "picture")
            first = required(sound_a, "sound A")
            with desk.job(visitor_of(request), "picture", path, first) as (folder, _):
                shown: list[Any] = []
                for name, sound in zip(SOUNDS, (first, Path(sound_b) if sound_b else None), strict=True):
                    if sound is None:
                        shown += [None, ""]
                        continue
                    found = analyse_picture(desk.localiser, path, sound, limits=limits)
                    shown += [_write(found, folder / f"{path.stem}.{name}.avol.png"), _described(found)]
                return tuple(shown)
        raise AssertionError("unreachable")

    def take_example() -> tuple[str, ...]:
        with mistakes_as_messages():
            folder = desk.folder.new_results()
            return tuple(str(path) for path in (example_picture(folder), *example_sounds(folder)))
        raise AssertionError("unreachable")

    inputs = [picture, *sounds]
    busy: dict[str, Any] = {"show_progress": "full"}
    run.click(analyse, inputs, outputs, api_name="analyse_picture", **busy, **MODEL_QUEUE)
    taken = example.click(take_example, None, inputs, api_name="example_picture")
    taken.success(analyse, inputs, outputs, api_visibility="private", **busy, **MODEL_QUEUE)


def _write(found: StillResult, path: Path) -> str:
    cv2.imwrite(str(path), cv2.cvtColor(found.picture, cv2.COLOR_RGB2BGR))
    return str(path)


def _described(found: StillResult) -> str:
    """In words, and the score over the sound."""
    verdict = (
        f"Sounds: {chart.place(found.peak)}, surest at {found.time_seconds:.2f} s"
        if found.sounding
        else f"Nothing in the picture makes this sound (a score below {found.threshold:g})"
    )
    if len(found.scores) < FEWEST_IN_CHART:
        return f"<p><strong>Score {found.score:.2f}.</strong> {verdict}.</p>"
    half = (found.times_seconds[1] - found.times_seconds[0]) / 2
    sounding = [
        Interval(start_seconds=max(0.0, time - half), end_seconds=time + half, score=score, peak=None)
        for time, score in zip(found.times_seconds, found.scores, strict=True)
        if score >= found.threshold
    ]
    end_seconds = found.times_seconds[-1] + half
    drawn = chart.score_chart(found.times_seconds, found.scores, found.threshold, sounding, end_seconds)
    return f"<p><strong>Score {found.score:.2f}.</strong> {verdict}.</p>{drawn}"
