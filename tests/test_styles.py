"""Styles: what is drawn is where it belongs, in the colours asked for, and nothing else is touched."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime.canvas import LUMA_WEIGHTS, WHITE, Canvas, limited_yuv
from avol.runtime.heat_layer import COLOUR_MAPS
from avol.runtime.media.picture import even, plane_pixels
from avol.runtime.overlay import Overlay
from avol.runtime.styles import STYLES, Painter, StyleOptions

BOX = (0.25, 0.25, 0.5, 0.75)


def grey_picture(width: int, height: int, luma: int = 120) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(picture.planes):
        plane_pixels(plane)[:] = 128 if index else luma
    picture.colorspace, picture.color_range, picture.pts = 1, ColorRange.MPEG, 7
    return picture


def heat_in(box: tuple[float, float, float, float]) -> NDArray[np.float32]:
    heat = np.zeros((8, 8), np.float32)
    left, top, right, bottom = (round(8 * edge) for edge in box)
    heat[top:bottom, left:right] = 0.95
    return heat


def planes(picture: av.VideoFrame) -> list[NDArray[np.uint8]]:
    return [plane_pixels(plane).copy() for plane in picture.planes]


@settings(max_examples=40, deadline=None)
@given(
    style=st.sampled_from(STYLES),
    width=st.integers(16, 300),
    height=st.integers(16, 300),
    legend=st.booleans(),
    found=st.booleans(),
)
def test_every_style_gives_even_pictures_of_its_size_and_leaves_the_source_alone(
    style: str, width: int, height: int, legend: bool, found: bool
) -> None:
    source = grey_picture(width, height)
    before = planes(source)
    painter = Painter(StyleOptions(style=style, legend=legend))
    drawn = painter.draw(source, heat_in(BOX) if found else None, BOX if found else None)
    assert (drawn.width, drawn.height) == painter.size(width, height)
    assert drawn.width % 2 == drawn.height % 2 == 0
    assert (drawn.pts, drawn.colorspace, drawn.color_range) == (7, 1, ColorRange.MPEG)
    assert all(np.array_equal(one, other) for one, other in zip(before, planes(source), strict=True))


@pytest.mark.parametrize("style", [style for style in STYLES if style not in {"heatmap", "side-by-side"}])
def test_what_is_drawn_stays_near_the_source(style: str) -> None:
    drawn = plane_pixels(Painter(StyleOptions(style=style)).draw(grey_picture(320, 240), heat_in(BOX), BOX).planes[0])
    changed = np.argwhere(drawn != 120)
    top, left = changed.min(axis=0) / (240, 320)
    bottom, right = (changed.max(axis=0) + 1) / (240, 320)
    cell = 1 / 8
    for edge, wanted in zip((left, top, right, bottom), BOX, strict=True):
        assert abs(edge - wanted) < cell


def test_a_box_is_a_line_around_and_a_contour_has_an_inside() -> None:
    for style in ("box", "contour"):
        drawn = plane_pixels(
            Painter(StyleOptions(style=style)).draw(grey_picture(320, 240), heat_in(BOX), BOX).planes[0]
        )
        assert drawn[120, 120] == 120, style
        assert (drawn[120] != 120).sum() < 60


def test_a_contour_at_the_rim_stays_in_the_picture_and_is_closed() -> None:
    drawn = Painter(StyleOptions(style="contour")).draw(grey_picture(320, 240), heat_in((0.0, 0.0, 1.0, 1.0)), None)
    luma = plane_pixels(drawn.planes[0])
    assert (luma[0] != 120).all()
    assert (luma[:, -1] != 120).all()
    assert luma[120, 160] == 120


def test_side_by_side_is_the_picture_and_the_overlay() -> None:
    source, heat = grey_picture(101, 66), heat_in(BOX)
    drawn = planes(Painter(StyleOptions(style="side-by-side")).draw(source, heat, BOX))
    overlay = planes(Overlay().draw(source, heat))
    for both, right in zip(drawn, overlay, strict=True):
        assert np.array_equal(both[:, right.shape[1] :], right)
    assert (drawn[0][:, : even(101)] == 120).all()


def test_the_heat_map_alone_hides_the_picture() -> None:
    painter = Painter(StyleOptions(style="heatmap"))
    dark, bright = (planes(painter.draw(grey_picture(64, 64, luma), heat_in(BOX), None)) for luma in (20, 230))
    assert all(np.array_equal(one, other) for one, other in zip(dark, bright, strict=True))
    assert (planes(painter.draw(grey_picture(64, 64), None, None))[0] == 16).all()


def test_nothing_found_is_the_picture_alone() -> None:
    for style in ("overlay", "contour", "box"):
        drawn = Painter(StyleOptions(style=style)).draw(grey_picture(64, 48), None, None)
        assert all((plane == value).all() for plane, value in zip(planes(drawn), (120, 128, 128), strict=True))


def test_colour_maps_look_different_and_unknown_names_are_refused() -> None:
    drawn = [
        planes(Painter(StyleOptions(colour_map=name)).draw(grey_picture(64, 64), heat_in(BOX), None))
        for name in COLOUR_MAPS
    ]
    for one, other in itertools.combinations(drawn, 2):
        assert any(np.abs(a.astype(int) - b).max() > 8 for a, b in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="style is 'fog', allowed are overlay"):
        StyleOptions(style="fog")
    with pytest.raises(ValueError, match="colour_map is 'jet', allowed are inferno"):
        StyleOptions(colour_map="jet")


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_grey_has_no_colour_and_white_is_235(matrix: int) -> None:
    assert limited_yuv(np.array(WHITE), matrix).tolist() == pytest.approx([235, 128, 128])
    assert limited_yuv(np.zeros(3), matrix).tolist() == pytest.approx([16, 128, 128])


def test_a_canvas_on_a_part_draws_in_that_part_alone() -> None:
    picture = grey_picture(100, 80)
    canvas = Canvas(picture, 1, (20, 40, 60, 30))
    canvas.fill((0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 0.0))
    luma = plane_pixels(picture.planes[0])
    inside = np.zeros_like(luma, dtype=bool)
    inside[40:70, 20:80] = True
    assert (luma[inside] != 120).all()
    canvas.text("avol", (0.0, 1.0), WHITE, height=0.9)
    assert (luma[~inside] == 120).all()
    assert (luma[inside] > 200).any()
