"""The page: a tab for each thing that the demo does. With the tabs and ``server``, all that knows Gradio."""

from __future__ import annotations

import gradio as gr

from avol.apps.demo_app.desk import Desk
from avol.apps.demo_app.live_tab import build_live_tab
from avol.apps.demo_app.picture_tab import build_picture_tab
from avol.apps.demo_app.requests import visitor_of
from avol.apps.demo_app.video_tab import build_video_tab

INTRODUCTION = """\
# avol
Where in a picture does a sound come from? Files stay on the machine that runs this page, and soon leave it."""

# Orange and blue, told apart with every kind of colour vision; text and lines take the theme's colours, bright or dark.
CSS = """
.html-container {padding: 0 !important}
.avol-chart {width: 100%; height: auto; font-size: 13px}
.avol-chart text {fill: var(--body-text-color); stroke: var(--body-background-fill); stroke-width: 3px;
  paint-order: stroke; stroke-linejoin: round}
.avol-score {fill: none; stroke: var(--body-text-color); stroke-width: 2; stroke-linejoin: round}
.avol-sounding {fill: #e69f00; opacity: .45}
.avol-threshold {stroke: #0072b2; stroke-width: 2; stroke-dasharray: 7 5}
.dark .avol-threshold {stroke: #56b4e9}
@media (max-width: 600px) {.avol-chart text {font-size: 20px} .avol-intervals :is(th, td) {padding: .25rem !important}}
.avol-grid {stroke: var(--border-color-primary); stroke-width: 1}
.avol-intervals {width: 100%; border: none !important; border-collapse: collapse; font-variant-numeric: tabular-nums}
.avol-intervals caption {text-align: left; font-weight: 600}
.avol-intervals th, .avol-intervals td {text-align: left; padding: .25rem .5rem}
.avol-intervals td, .avol-intervals th {border: none !important}
.avol-intervals tr {border: none !important; border-bottom: 1px solid var(--border-color-primary) !important}
.avol-intervals td:nth-child(-n+2) {white-space: nowrap}
.avol-legend {display: flex; gap: .6rem; align-items: center; font-size: 13px; white-space: nowrap}
.avol-bar {flex: 1 1 2rem; max-width: 16rem; height: .8rem; border-radius: .4rem}
.avol-live {width: 100%; height: auto; border-radius: .4rem}
.avol-card table {display: block; overflow-x: auto; border: none !important}
.avol-card th, .avol-card td {overflow-wrap: normal !important; word-break: normal !important; min-width: 5rem}
:focus-visible {outline: 3px solid #0072b2 !important; outline-offset: 2px}
"""


def build_page(desk: Desk) -> gr.Blocks:
    """All tabs, with everything that they do."""
    page = gr.Blocks(title="avol", analytics_enabled=False)
    with page:
        gr.Markdown(INTRODUCTION)
        with gr.Tabs():
            with gr.Tab("Video"):
                build_video_tab(desk)
            with gr.Tab("Picture + sound"):
                build_picture_tab(desk)
            with gr.Tab("Live"):
                build_live_tab(desk)
            with gr.Tab("Model"):
                card = gr.Markdown(label="Model card", elem_classes="avol-card")
                page.load(lambda: desk.card, None, card, api_name="model_card", queue=False)

        def leave(request: gr.Request) -> None:
            desk.leave(visitor_of(request))

        page.unload(leave)
    return page
