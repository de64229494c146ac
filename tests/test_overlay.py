"""The overlay: heat is drawn where its cell is, nothing else is touched, and colours keep their meaning."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime import heat_layer
from avol.runtime.canvas import LUMA_WEIGHTS
from avol.runtime.media.picture import even, plane_pixels
from avol.runtime.overlay import Overlay

GRID = 8
BT709, BT601, UNSPECIFIED = 1, 6, 2


def picture(width: int, height: int, *, luma: int | None = None, matrix: int = BT709) -> av.VideoFrame:
    """Random pixels within limited range, or grey of one luma."""
    frame = av.VideoFrame(width, height, "yuv420p")
    rng = np.random.default_rng(width * 10_000 + height)
    for index, plane in enumerate(frame.planes):
        pixels = plane_pixels(plane)
        grey = 128 if index else luma
        pixels[:] = rng.integers(16, 236, pixels.shape) if luma is None else grey
    frame.colorspace, frame.color_range, frame.pts = matrix, ColorRange.MPEG, 7
    return frame


def planes(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    return [plane_pixels(plane).copy() for plane in frame.planes]


def one_hot(row: int, column: int, value: float = 1.0) -> NDArray[np.float32]:
    heat = np.zeros((GRID, GRID), np.float32)
    heat[row, column] = value
    return heat


def to_rgb(luma: int, u: int, v: int, matrix: int) -> tuple[float, float, float]:
    """Limited-range YUV to RGB in 0..1, straight from the definition (ITU-T H.273, 8.3)."""
    weight_red, weight_blue = LUMA_WEIGHTS[matrix]
    y, pb, pr = (luma - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 2 * (1 - weight_red) * pr, y + 2 * (1 - weight_blue) * pb
    return red, (y - weight_red * red - weight_blue * blue) / (1 - weight_red - weight_blue), blue


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(0, GRID - 1),
    column=st.integers(0, GRID - 1),
    width=st.integers(48, 400),
    height=st.integers(48, 400),
)
def test_heat_is_centred_on_its_cell_in_every_plane(row: int, column: int, width: int, height: int) -> None:
    source = picture(width, height, luma=60)
    drawn = Overlay().draw(source, one_hot(row, column))
    for before, after in zip(planes(Overlay().draw(source, None)), planes(drawn), strict=True):
        change = np.abs(after.astype(float) - before)
        # The picture's own size: what an odd one gains must not move the heat.
        full_width, full_height = after.shape[1] * width / even(width), after.shape[0] * height / even(height)
        weight = np.where(change >= 0.5 * change.max(), change, 0)
        y = (weight.sum(1) @ (np.arange(after.shape[0]) + 0.5)) / weight.sum() / full_height
        x = (weight.sum(0) @ (np.arange(after.shape[1]) + 0.5)) / weight.sum() / full_width
        # At an edge the heat reaches to it: its centre may lie off the cell's, but within it.
        tolerance = np.where([0 < column < GRID - 1, 0 < row < GRID - 1], 0.02, 0.5 / GRID)
        assert np.all(np.abs([x - (column + 0.5) / GRID, y - (row + 0.5) / GRID]) <= tolerance + 1.0 / min(after.shape))


def test_the_picture_is_untouched_where_nothing_sounds() -> None:
    source = picture(160, 120)
    drawn = Overlay().draw(source, one_hot(1, 1))
    for before, after, share in zip(planes(source), planes(drawn), (1, 2, 2), strict=True):
        assert np.array_equal(after[60 // share :], before[60 // share :])
        assert np.array_equal(after[:, 80 // share :], before[:, 80 // share :])
        assert not np.array_equal(after, before)


@pytest.mark.parametrize("heat", [np.zeros((8, 8), np.float32), np.full((8, 8), 0.05, np.float32), None])
def test_no_heat_changes_nothing(heat: NDArray[np.float32] | None) -> None:
    source = picture(64, 48)
    drawn = Overlay().draw(source, heat)
    assert all(np.array_equal(a, b) for a, b in zip(planes(source), planes(drawn), strict=True))


def test_the_source_picture_is_not_changed() -> None:
    source = picture(64, 48)
    before = planes(source)
    Overlay().draw(source, np.ones((8, 8), np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(before, planes(source), strict=True))


@given(luma=st.integers(16, 235))
@settings(max_examples=30, deadline=None)
def test_more_heat_hides_more_of_the_picture_but_never_all(luma: int) -> None:
    dark, bright = picture(32, 32, luma=16), picture(32, 32, luma=luma)
    contrast = luma - 16
    for value in np.linspace(0, 1, 11):
        heat = np.full((8, 8), value, np.float32)
        left = int(planes(Overlay().draw(bright, heat))[0][16, 16]) - int(planes(Overlay().draw(dark, heat))[0][16, 16])
        assert left <= contrast + 1
        contrast = min(contrast, left)
    assert contrast >= 0.3 * (luma - 16) - 1


@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_the_hottest_place_has_the_same_colour_in_every_matrix(matrix: int) -> None:
    drawn = planes(Overlay(opacity=1.0).draw(picture(32, 32, luma=120, matrix=matrix), np.ones((8, 8), np.float32)))
    rgb = to_rgb(*(int(plane[8, 8]) for plane in drawn), matrix)
    assert rgb == pytest.approx((0.984, 0.743, 0.138), abs=0.02)  # inferno at 0.85


@pytest.mark.parametrize(("width", "height", "as_matrix"), [(640, 480, BT601), (1280, 720, BT709), (720, 576, BT601)])
def test_a_picture_without_a_tag_counts_as_players_take_it(width: int, height: int, as_matrix: int) -> None:
    heat = np.ones((8, 8), np.float32)
    untagged = planes(Overlay().draw(picture(width, height, luma=100, matrix=UNSPECIFIED), heat))
    tagged = planes(Overlay().draw(picture(width, height, luma=100, matrix=as_matrix), heat))
    assert all(np.array_equal(a, b) for a, b in zip(untagged, tagged, strict=True))


@pytest.mark.parametrize("luma", [16, 60, 120, 180, 235])
def test_heat_stands_out_on_dark_and_on_bright(luma: int) -> None:
    drawn = planes(Overlay().draw(picture(128, 128, luma=luma), one_hot(4, 4)))
    change = [np.abs(plane.astype(int) - (128 if index else luma)) for index, plane in enumerate(drawn)]
    assert change[0][72, 72] + change[1][36, 36] + change[2][36, 36] >= 60


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuvj420p", "yuv444p", "nv12", "rgb24", "gray", "yuv422p10le"])
def test_any_pixel_format_becomes_limited_range_yuv420p(pixel_format: str) -> None:
    """Black, white and red stay what they are."""
    pixels = np.zeros((48, 96, 3), np.uint8)
    pixels[:, 32:64] = 255
    pixels[:, 64:] = 255 if pixel_format == "gray" else (255, 0, 0)
    source = av.VideoFrame.from_ndarray(pixels, "rgb24")
    if pixel_format != "rgb24":
        full = ColorRange.JPEG if pixel_format in {"yuvj420p", "gray"} else ColorRange.MPEG
        source = source.reformat(format=pixel_format, dst_colorspace="itu709", dst_color_range=full)
        source.colorspace, source.color_range = BT709, full
    drawn = Overlay().draw(source, np.zeros((8, 8), np.float32))
    assert drawn.format.name == "yuv420p"
    assert drawn.color_range in {ColorRange.MPEG, ColorRange.UNSPECIFIED}
    matrix = drawn.colorspace if drawn.colorspace in LUMA_WEIGHTS else BT601
    luma, u, v = planes(drawn)
    for column, expected in ((16, (0, 0, 0)), (48, (1, 1, 1)), (80, tuple(pixels[0, 80] / 255))):
        rgb = to_rgb(int(luma[24, column]), int(u[12, column // 2]), int(v[12, column // 2]), matrix)
        assert rgb == pytest.approx(expected, abs=0.03), (pixel_format, column)


@pytest.mark.parametrize(("width", "height"), [(63, 47), (64, 47), (63, 48), (1, 1), (3, 5)])
@pytest.mark.parametrize("heat", [None, np.ones((8, 8), np.float32)])
def test_odd_sizes_gain_a_copy_of_the_last_column_and_row(
    width: int, height: int, heat: NDArray[np.float32] | None
) -> None:
    source = picture(width, height)
    drawn = Overlay().draw(source, heat)
    assert (drawn.width, drawn.height) == (even(width), even(height))
    luma = planes(drawn)[0]
    assert np.array_equal(luma[height - 1 :, :width], np.repeat(luma[height - 1 : height, :width], 1 + height % 2, 0))
    assert np.array_equal(luma[:, width - 1 :], np.repeat(luma[:, width - 1 : width], 1 + width % 2, 1))
    if heat is None:
        assert np.array_equal(luma[:height, :width], planes(source)[0])


def test_time_and_colour_tags_are_kept() -> None:
    source = picture(64, 48)
    source.color_primaries, source.color_trc = 9, 16
    drawn = Overlay().draw(source, np.ones((8, 8), np.float32))
    assert (drawn.pts, drawn.colorspace, drawn.color_range) == (7, BT709, ColorRange.MPEG)
    assert (drawn.color_primaries, drawn.color_trc) == (9, 16)


def test_a_reused_overlay_draws_what_a_fresh_one_draws() -> None:
    """The layer is kept between pictures: not when the heat, the size or the matrix is another one."""
    overlay = Overlay()
    heat = one_hot(2, 3)
    for source, drawn_heat in [
        (picture(64, 48), heat),
        (picture(64, 48), heat),
        (picture(64, 48), one_hot(5, 5)),
        (picture(96, 48), one_hot(5, 5)),
        (picture(96, 48, matrix=BT601), one_hot(5, 5)),
        (picture(96, 48), np.ones((14, 14), np.float32)),
    ]:
        kept, fresh = planes(overlay.draw(source, drawn_heat)), planes(Overlay().draw(source, drawn_heat))
        assert all(np.array_equal(a, b) for a, b in zip(kept, fresh, strict=True))
    heat[:] = 1.0  # the caller's array, changed in place
    changed, fresh = planes(overlay.draw(picture(64, 48), heat)), planes(Overlay().draw(picture(64, 48), heat))
    assert all(np.array_equal(a, b) for a, b in zip(changed, fresh, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.tuples(st.integers(0, GRID - 1), st.integers(0, GRID - 1), st.floats(0, 1)), max_size=3),
    width=st.sampled_from([160, 240, 256, 320, 384, 426, 427, 640]) | st.integers(2, 400),
    height=st.sampled_from([90, 120, 180, 240, 270, 360]) | st.integers(2, 400),
    opacity=st.floats(0, 1),
)
def test_only_the_part_with_heat_is_drawn_and_looks_as_in_the_whole(
    cells: list[tuple[int, int, float]], width: int, height: int, opacity: float
) -> None:
    source, heat = picture(width, height), np.zeros((GRID, GRID), np.float32)
    for row, column, value in cells:
        heat[row, column] = value
    part = planes(Overlay(opacity=opacity).draw(source, heat))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heat_layer, "_visible_part", lambda steps, side: (slice(0, len(steps)), slice(0, even(side))))
        whole = planes(Overlay(opacity=opacity).draw(source, heat))
    for one, other in zip(part, whole, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1  # of 255: the last bit of an interpolation


def test_little_heat_touches_a_small_part_of_the_picture() -> None:
    layer = heat_layer.make_layer(one_hot(2, 5), 1280, 720, BT709, heat_layer.colour_tables(BT709, 0.65, "inferno"))
    assert layer is not None
    rows, columns = layer.area
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 1280 * 720 / 6
    assert rows.start <= 2 * 90 < 3 * 90 <= rows.stop
    assert columns.start <= 5 * 160 < 6 * 160 <= columns.stop


def test_heat_too_weak_to_be_seen_leaves_the_picture_as_it_is() -> None:
    source = picture(64, 48)
    assert Overlay().draw(source, np.full((8, 8), 0.09, np.float32)) is source


def test_odd_heat_does_no_harm() -> None:
    """Not a number counts as no heat, values beyond 0..1 as the nearest one."""
    source = picture(64, 48)
    odd = np.array([[np.nan, -3.0], [7.0, np.inf]], np.float32)
    drawn, meant = Overlay().draw(source, odd), Overlay().draw(source, np.array([[0, 0], [1, 1]], np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(planes(drawn), planes(meant), strict=True))


def test_an_opacity_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed is"):
        Overlay(opacity=1.5)
