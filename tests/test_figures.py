"""Figures: layers as they are, receptive fields as computed by hand, curves with known answers, files that decode."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from avol.apps import cli
from avol.runtime.errors import AvolError
from avol.runtime.media.video import read_picture
from avol.runtime.model_folder import bundled_model_folder, bundled_sample
from avol.train.checkpoint import save_checkpoint
from avol.train.figures.curves import Curve, RunHistory, moving_average, overfitting_step, read_history
from avol.train.figures.drawing import INCHES_PER_CHANNEL, THINNEST_INCHES
from avol.train.figures.history import draw_history
from avol.train.figures.models import open_network
from avol.train.figures.moments import loudest_start
from avol.train.figures.network import draw_network, places, shape_text, tower_items
from avol.train.figures.panels import heat_colours
from avol.train.figures.receptive_field import effective_field, scene_pictures
from avol.train.figures.trace import receptive_field, trace_network
from avol.train.figures.variants import draw_variants, final_value, mean_and_interval, read_variant
from avol.train.figures.weights import colour_kernels, first_kernels, mosaic, signed_kernels
from avol.train.network import TwoTowerNetwork, build_network, preset_spec


@pytest.fixture(scope="module")
def network() -> TwoTowerNetwork:
    """The bundled network."""
    return open_network(None)


def curve(values: Any, spacing: int = 20) -> Curve:
    values = np.asarray(values, np.float64)
    return Curve(spacing * np.arange(1, len(values) + 1, dtype=np.float64), values)


def write_log(folder: Path, records: list[dict[str, Any]], *, tail: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "log.jsonl").write_text(lines + tail, encoding="utf-8")
    return folder


def a_run(folder: Path, *, level: float = 0.8, overfits: bool = True) -> Path:
    """A log whose validation loss is lowest at step 1,000 and rises from there, or goes on falling."""
    records: list[dict[str, Any]] = []
    for step in range(20, 2001, 20):
        records.append({"step": step, "loss": 1 - step / 3000, "accuracy": 0.5 + 0.2 * step / 2000})
        if step % 100 == 0:
            loss = abs(step - 1000) / 2000 if overfits else 1 - step / 4000
            records.append({"step": step, "validation_loss": loss, "validation_accuracy": level - loss / 10})
    return write_log(folder, records)


def output_shapes(tower: nn.Module, given: torch.Tensor) -> list[tuple[int, ...]]:
    """What every layer gives, found by running the tower's own list of modules one after the other."""
    shapes = []
    for module in tower.convs:  # type: ignore[union-attr]
        given = module(given)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            shapes.append(tuple(given.shape[1:]))
    return shapes


# The network


@pytest.mark.parametrize("preset", ["avol-128", "avol-128-half-width", "avol-128-half-depth"])
def test_traced_shapes_are_those_of_the_modules(preset: str) -> None:
    network = build_network(preset_spec(preset)).eval()
    traced = trace_network(network)
    with torch.no_grad():
        frame = output_shapes(network.frame_tower, torch.zeros(1, 3, 128, 128))
        audio = output_shapes(network.audio_tower, torch.zeros(1, 1, 128, 128))
    assert [layer.output_shape for layer in traced.frame_layers[: len(frame)]] == frame
    assert [layer.output_shape for layer in traced.audio_layers[: len(audio)]] == audio
    assert [layer.output_shape for layer in traced.frame_layers[len(frame) :]] == [(128, 8, 8)] * 2
    widest = frame[-1][0]
    assert [(x.kind, x.output_shape) for x in traced.audio_layers[len(audio) :]] == [
        ("global max", (widest,)), ("linear", (128,)), ("linear", (128,)),
    ]  # fmt: skip
    assert traced.map_shape == (8, 8)


def test_size_and_arithmetic_are_the_known_ones() -> None:
    """9.5 million parameters and 1.68 billion multiply-adds (measured when the project began)."""
    traced = trace_network(build_network(preset_spec("avol-128")))
    assert traced.parameters == pytest.approx(9.5e6, rel=0.01)
    assert traced.multiply_adds == pytest.approx(1.68e9, rel=0.01)


def test_the_map_of_the_large_preset_is_larger() -> None:
    assert trace_network(build_network(preset_spec("avol-224"))).map_shape == (14, 14)


@pytest.mark.parametrize("training", [True, False])
def test_tracing_leaves_the_network_as_it_was(training: bool) -> None:
    network = build_network(preset_spec("avol-128-half-depth")).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace_network(network)
    assert network.training == training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "preset",
    [
        *("avol-128", "avol-128-half-depth", "avol-224", "ave-net-128", "l3-net-128-half-width"),
        *("attention-128-half-width", "ez-vsl-128-half-width", "ez-vsl-224-guided"),
    ],
)
def test_every_layer_is_drawn_with_its_shape_and_to_scale(preset: str) -> None:
    network = build_network(preset_spec(preset)).eval()
    traced = trace_network(network)
    (axes,) = draw_network(network, trained=False).axes
    drawn = [text.get_text() for text in axes.texts]
    for shape, layers in ((traced.frame_input, traced.frame_layers), (traced.audio_input, traced.audio_layers)):
        items = tower_items(shape, "", layers, 0.01)
        assert [item.shape for item in items] == [shape, *(layer.output_shape for layer in layers)]
        for item in items:
            assert shape_text(item.shape) in drawn
            if len(item.shape) == 3:
                # A single cell would be invisible to scale: it is drawn larger.
                height = 0.01 * item.shape[1] if item.shape[1] > 1 else THINNEST_INCHES
                assert item.plate.front[1] == pytest.approx(height)
                assert item.plate.front[0] == pytest.approx(INCHES_PER_CHANNEL * item.shape[0])
        lefts = places(items)
        assert all(b > a + item.plate.front[0] for a, b, item in zip(lefts, lefts[1:], items, strict=False))
    faces = {patch.get_gid() for patch in axes.patches}
    assert {f"layer-{n}" for n in range(max(len(traced.frame_layers), len(traced.audio_layers)) + 1)} <= faces
    assert f"map {traced.map_shape[0]}\N{MULTIPLICATION SIGN}{traced.map_shape[1]}\n(enlarged)" in drawn


def test_a_network_that_hears_the_waveform_is_not_drawn() -> None:
    with pytest.raises(AvolError, match="hears the waveform"):
        draw_network(build_network(preset_spec("sound-net-128-half-width")), trained=False)


# The receptive field


@pytest.mark.parametrize(
    ("preset", "size", "first"),
    # By hand: conv /2: 3; conv: 3+2*2=7; pool: 7+2=9; two convs at stride 4: 9+2*8=25; pool: 25+4=29; two convs at
    # stride 8: 29+2*16=61; pool: 61+8=69; two convs at stride 16: 69+2*32=133. Paddings: 1+2+4+4+8+8+16+16=59.
    # With one conv per block: 3, 5, 13, 17, 33, 41, 73; paddings 1+4+8+16=29.
    [("avol-128", 133, -59), ("avol-128-half-width", 133, -59), ("avol-128-half-depth", 73, -29)],
)
def test_the_receptive_field_is_the_one_computed_by_hand(preset: str, size: int, first: int) -> None:
    field = receptive_field(trace_network(build_network(preset_spec(preset))).frame_layers)
    assert (field.size, field.stride, field.first) == (size, 16, first)
    assert field.span(4) == (first + 64, first + 64 + size)


def test_a_pooled_tower_sees_the_whole_picture() -> None:
    """Its maximum is over eight by eight cells, whose fields of 133 pixels lie 16 apart."""
    torch.manual_seed(3)
    spec = preset_spec("ave-net-128-half-width")
    network = build_network(spec).eval()
    field = receptive_field(trace_network(network).frame_layers)
    assert (field.size, field.first) == (133 + 7 * 16, -59)
    assert field.span(0) == (-59, 186)
    found = effective_field(network, scene_pictures(128, 128, 2), (0, 0))
    assert found.middle == (64, 64)
    assert np.flatnonzero(found.gradient.sum(axis=1))[0] < 32


def test_a_model_without_a_map_has_a_field_and_no_panels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = build_network(preset_spec("ave-net-128-half-width")).eval()
    run = a_run(tmp_path / "run")
    save_checkpoint(network, network.spec, run / "checkpoint.safetensors")
    assert cli.main(["figures", "panels", str(run), "--out", str(tmp_path / "panels.png")]) == 1
    assert "tells whether, not where" in capsys.readouterr().err
    assert not (tmp_path / "panels.png").exists()
    assert cli.main(["figures", "all", "--run", str(run), "--out", str(tmp_path / "all")]) == 0
    assert "no panels are drawn" in capsys.readouterr().out
    assert {path.stem for path in (tmp_path / "all").iterdir()} == {"network", "history", "weights", "receptive-field"}


def test_no_gradient_lies_outside_of_the_receptive_field() -> None:
    """Along both sides the effective field reaches no further than the theoretical one, and to its very edge."""
    torch.manual_seed(3)
    network = build_network(preset_spec("avol-128-half-depth")).eval()
    found = effective_field(network, scene_pictures(128, 128, 2), (4, 3)).gradient
    field = receptive_field(trace_network(network).frame_layers)
    for cell, axis in ((4, 1), (3, 0)):
        touched = np.flatnonzero(found.sum(axis=axis))
        start, end = field.span(cell)
        assert start <= touched[0]
        assert touched[-1] < end
        assert touched[-1] - touched[0] > 0.9 * field.size
    assert found.sum() == pytest.approx(1.0)


def test_the_square_of_half_the_gradient_holds_half_of_it(network: TwoTowerNetwork) -> None:
    found = effective_field(network, scene_pictures(128, 128, 3), (4, 4))
    (row, column), half = found.middle, found.half_side // 2

    def share(reach: int) -> float:
        top, left = int(row) - reach, int(column) - reach
        return float(found.gradient[top : top + 2 * reach, left : left + 2 * reach].sum())

    assert (row, column) == (72, 72)
    assert share(half) >= 0.5 > share(half - 1)


# The curves


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60), st.integers(1, 31))
def test_the_moving_average_is_the_mean_of_the_neighbours(values: list[float], window: int) -> None:
    averages = moving_average(np.array(values), window)
    reach = window // 2
    for position, average in enumerate(averages):
        around = values[max(0, position - reach) : position + reach + 1]
        assert average == pytest.approx(sum(around) / len(around), abs=1e-6)


def history(loss: Any, validation_loss: Any) -> RunHistory:
    return RunHistory("made-up", {"loss": curve(loss), "validation_loss": curve(validation_loss)})


def test_the_overfitting_point_is_the_lowest_validation_loss() -> None:
    x = np.linspace(0, 1, 101)
    assert overfitting_step(history(1 - x, (x - 0.4) ** 2)) == pytest.approx(20 * 41, abs=40)


def test_accuracy_tells_where_there_is_no_validation_loss() -> None:
    x = np.linspace(0, 1, 101)
    run = RunHistory("made-up", {"accuracy": curve(x), "validation_accuracy": curve(0.6 - (x - 0.3) ** 2)})
    assert overfitting_step(run) == pytest.approx(20 * 31, abs=40)


@pytest.mark.parametrize(
    ("loss", "validation"),
    [
        pytest.param(np.linspace(1, 0, 50), np.linspace(1, 0.5, 50), id="still learning"),
        pytest.param(np.linspace(0, 1, 50), (np.linspace(0, 1, 50) - 0.5) ** 2, id="training gets worse as well"),
        pytest.param(np.linspace(1, 0, 50), np.full(50, 0.7), id="flat"),
        pytest.param(np.linspace(1, 0, 4), [1.0, 0.5, 0.8, 0.9], id="too short to tell"),
    ],
)
def test_no_overfitting_is_claimed_without_it(loss: Any, validation: Any) -> None:
    assert overfitting_step(history(loss, validation)) is None


def test_noise_is_no_overfitting() -> None:
    rng = np.random.default_rng(0)
    falling = np.exp(-np.linspace(0, 5, 60))
    assert overfitting_step(history(falling, falling + rng.normal(0, 0.03, 60))) is None


def test_without_validation_there_is_no_point() -> None:
    assert overfitting_step(RunHistory("made-up", {"loss": curve([1, 0.5, 0.7, 0.6, 0.5])})) is None


def test_a_log_is_read_as_it_was_written_last(tmp_path: Path) -> None:
    run = write_log(
        tmp_path / "run",
        [
            {"step": 20, "loss": 0.7, "accuracy": 0.5},
            {"step": 40, "loss": 9.0, "accuracy": 0.1},
            {"step": 60, "loss": 9.0, "accuracy": 0.1},
            {"step": 40, "loss": 0.6, "accuracy": 0.6},  # made again after an interruption
            {"step": 40, "validation_loss": 0.65, "validation_accuracy": 0.55},  # a line of its own
            {"step": 60, "loss": math.nan, "accuracy": 0.7},
        ],
        tail='{"step": 80, "lo',
    )
    read = read_history(run)
    assert read.name == "run"
    assert read.curves["loss"].steps.tolist() == [20, 40, 60]
    assert read.curves["loss"].values.tolist() == [0.7, 0.6, 9.0]  # what is no number is left out
    assert read.curves["accuracy"].values.tolist() == [0.5, 0.6, 0.7]
    assert read.curves["validation_loss"].steps.tolist() == [40]
    assert read_history(run / "log.jsonl").name == "run"


@pytest.mark.parametrize("text", ["", "\n\n", '{"step": 2', "[1, 2]\nnull\n3\n", '{"loss": 1}\n', "\x00\xff"])
def test_a_log_without_a_step_is_a_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.jsonl").write_text(text, encoding="latin-1")
    with pytest.raises(AvolError, match="no step of a run in it"):
        read_history(tmp_path)


def test_the_history_draws_raw_values_averages_and_the_point(tmp_path: Path) -> None:
    run = read_history(a_run(tmp_path / "run"))
    loss_axes = next(axes for axes in draw_history([run]).axes if axes.get_ylabel() == "loss")
    lines = {line.get_gid(): line for line in loss_axes.lines if line.get_gid()}
    assert {"loss", "validation_loss", "overfitting"} <= lines.keys()
    assert np.array_equal(lines["loss"].get_ydata(), run.curves["loss"].smoothed())
    assert any(np.array_equal(line.get_ydata(), run.curves["loss"].values) for line in loss_axes.lines)
    assert lines["overfitting"].get_xdata()[0] == pytest.approx(1000)
    calm = read_history(a_run(tmp_path / "calm", overfits=False))
    assert not any(line.get_gid() == "overfitting" for axes in draw_history([calm]).axes for line in axes.lines)


def test_epochs_are_shown_where_they_were(tmp_path: Path) -> None:
    """Ten epochs of ten steps, then of ninety, as in the report: no one factor turns steps into epochs."""
    epochs = [(step, step / 10 if step <= 100 else 10 + (step - 100) / 90) for step in range(20, 1001, 20)]
    records = [{"step": step, "loss": 1.0, "accuracy": 0.5, "epoch": epoch} for step, epoch in epochs]
    figure = draw_history([read_history(write_log(tmp_path, records))])
    figure.draw_without_rendering()
    above = [axes for child in figure.axes for axes in child.child_axes if axes.get_xlabel() == "epoch"]
    to_epoch, to_step = above[0]._functions  # type: ignore[attr-defined]
    for step, epoch in ((0, 0), (50, 5), (100, 10), (190, 11), (1000, 20), (1090, 21)):
        assert to_epoch(step) == pytest.approx(epoch)
        assert to_step(epoch) == pytest.approx(step)
    uncounted = [{"step": step, "loss": 1.0, "accuracy": 0.5, "epoch": 1.0} for step in (20, 40)]
    figure = draw_history([read_history(write_log(tmp_path, uncounted))])
    assert not any(axes.child_axes for axes in figure.axes)


# Variants


@pytest.mark.parametrize(
    ("values", "half"),
    # From tables of Student's t: 12.706 (1), 4.303 (2), 2.145 (14), each times the deviation / sqrt(count).
    [([0.6, 0.8], 1.2706), ([1.0, 2.0, 3.0], 2.4843), ([0.0, 1.0] * 7 + [0.5], 0.2768)],
)
def test_intervals_are_those_of_students_t(values: list[float], half: float) -> None:
    mean, found = mean_and_interval(values)
    assert mean == pytest.approx(np.mean(values))
    assert found == pytest.approx(half, rel=2e-3)


def test_one_run_has_no_interval() -> None:
    assert mean_and_interval([0.5]) == (0.5, None)


def test_the_final_value_is_the_mean_of_the_last_tenth() -> None:
    assert final_value(curve(range(100))) == pytest.approx(94.5)
    assert final_value(curve([3.0])) == 3.0


def test_variants_show_every_label_and_final_value(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / f"run-{n}", level=0.8 + n / 100) for n in range(3)]
    variants = [read_variant(f"full={runs[0]},{runs[1]}"), read_variant(str(runs[2]))]
    assert [variant.label for variant in variants] == ["full", "run-2"]
    figure = draw_variants(variants)
    accuracy, finals, *_ = figure.axes
    assert accuracy.get_ylabel() == "validation accuracy (%)"
    assert [line.get_label() for line in accuracy.lines if not line.get_label().startswith("_")] == ["full", "run-2"]
    expected = [
        100 * np.mean([final_value(run.curves["validation_accuracy"]) for run in variant.runs]) for variant in variants
    ]
    assert [text.get_text() for text in finals.texts] == [f"{value:.1f}" for value in expected]
    assert [tick.get_text() for tick in figure.axes[3].get_xticklabels()] == ["full", "run-2"]


def test_training_is_shown_where_a_run_has_no_validation(tmp_path: Path) -> None:
    plain = write_log(tmp_path / "plain", [{"step": s, "loss": 1 / s, "accuracy": 0.5} for s in range(1, 30)])
    figure = draw_variants([read_variant(str(a_run(tmp_path / "run"))), read_variant(str(plain))])
    assert figure.axes[0].get_ylabel() == "training accuracy (%)"


@pytest.mark.parametrize("text", ["a=", "a=run,,run", "a=run,run", ","])
def test_runs_named_twice_or_not_at_all_are_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    a_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AvolError, match="named twice or not at all"):
        read_variant(text)


# Weights, heat, moments


def test_kernels_are_those_of_the_first_layers(network: TwoTowerNetwork) -> None:
    frame, audio = first_kernels(network.frame_tower), first_kernels(network.audio_tower)
    assert (frame.shape, audio.shape) == ((32, 3, 3, 3), (32, 1, 3, 3))
    stored = network.frame_tower.convs[0].weight.detach().numpy()
    assert sorted(np.abs(stored).sum(axis=(1, 2, 3))) == pytest.approx(sorted(np.abs(frame).sum(axis=(1, 2, 3))))
    strength = np.square(frame).sum(axis=(1, 2, 3))
    assert np.all(np.diff(strength) <= 0)


def test_kernels_as_pictures_keep_signs_and_channels() -> None:
    kernel = np.zeros((1, 3, 3, 3), np.float32)
    kernel[0, 0, 0, 2], kernel[0, 2, 1, 1] = (
        2.0,
        -1.0,
    )  # much red, less blue
    picture = colour_kernels(kernel)[0]
    assert picture[0, 2].tolist() == [1.0, 0.5, 0.5]
    assert picture[1, 1].tolist() == [0.5, 0.5, 0.25]
    assert signed_kernels(np.full((1, 1, 3, 3), -4.0, np.float32)).tolist() == np.full((1, 3, 3), -1.0).tolist()
    assert np.isfinite(colour_kernels(np.zeros((1, 3, 3, 3), np.float32))).all()


def test_the_mosaic_holds_every_kernel_in_its_place() -> None:
    pictures = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 3, 3), np.float32)
    canvas = mosaic(pictures, columns=3)
    seen = canvas[~np.isnan(canvas)]
    assert {value: int((seen == value).sum()) for value in range(5)} == dict.fromkeys(range(5), 9 * 8 * 8)
    assert canvas[0, 0] == 0
    assert canvas[-1, 0] == 3
    assert np.isnan(canvas[-1, -1])  # the last line is not full


def test_no_heat_hides_nothing_and_more_heat_hides_more() -> None:
    opacity = heat_colours()(np.linspace(0, 1, 50))[:, 3]
    assert opacity[0] == 0
    assert np.all(np.diff(opacity) >= 0)
    assert 0.5 < opacity[-1] < 1


def test_the_loudest_window_is_found() -> None:
    samples = np.zeros(1000, np.float32)
    samples[600:700] = 0.5
    assert 500 <= loudest_start(samples, 200, 10) <= 600
    assert loudest_start(np.zeros(50, np.float32), 200, 10) == 0


# The command


def content(path: Path) -> float:
    """How much the pixels of a picture differ."""
    return float(read_picture(path, height=256, width=256).std())


def test_all_figures_of_a_run_are_pictures_with_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = a_run(tmp_path / "run"), tmp_path / "new" / "figures"
    assert (
        cli.main(["figures", "all", "--run", str(run), "--model", str(bundled_model_folder()), "--out", str(out)]) == 0
    )
    names = {"network.png", "history.png", "weights.png", "receptive-field.png", "panels.png"}
    assert {path.name for path in out.iterdir()} == names
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == names
    for name in names:
        with av.open(str(out / name)) as container:
            assert container.streams.video[0].width > 700
        assert content(out / name) > 5


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_same_figure_is_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    run = a_run(tmp_path / "run")
    files = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for file in files:
        assert cli.main(["figures", "history", str(run), "--out", str(file)]) == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix.lower()])


def test_variants_weights_and_field_from_the_command(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    picture = tmp_path / "picture.png"
    jobs = [
        ["variants", f"some={run}", str(run), "--window", "5"],
        ["weights"],
        ["receptive-field", "--cell", "0", "7", "--pictures", "2"],
        ["receptive-field", str(bundled_model_folder()), str(picture), "--pictures", "1"],
    ]
    assert cli.main(["figures", "network", "avol-128-half-depth", "--out", str(picture)]) == 0
    for number, job in enumerate(jobs):
        out = tmp_path / f"{number}.png"
        assert cli.main(["figures", *job, "--out", str(out)]) == 0
        assert content(out) > 5


@pytest.mark.parametrize("count", [1, 2])
def test_panels_of_ones_own_clips(tmp_path: Path, count: int) -> None:
    clips = [tmp_path / f"clip-{number}.mp4" for number in range(count)]
    for clip in clips:
        clip.symlink_to(bundled_sample())
    out = tmp_path / "panels.png"
    assert cli.main(["figures", "panels", str(bundled_model_folder()), *map(str, clips), "--out", str(out)]) == 0
    assert content(out) > 5


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["history", "nowhere", "--out", "x.png"], "nowhere: no such run"),
        (["history", ".", "--out", "x.png"], "holds no log.jsonl"),
        (["history", "run", "--out", "x.gif"], "the suffix must be one of .png, .svg, .pdf"),
        (["history", "run", "--out", "x"], "the suffix must be one of .png, .svg, .pdf"),
        (["history", "run", "--out", "missing/x.png"], "missing does not exist"),
        (["history", "run", "--out", "folder.png"], "exists and is not a regular file"),
        (["network", "avol-129", "--out", "x.png"], "no such preset"),
        (["network", "other.safetensors", "--out", "x.png"], "not a readable checkpoint"),
        (["weights", "run", "--out", "x.png"], "no such checkpoint"),
        (["weights", "nothing.safetensors", "--out", "x.png"], "no such checkpoint"),
        (["receptive-field", "--cell", "8", "0", "--out", "x.png"], "no such cell"),
        (["panels", "nothing", "--out", "x.png"], "no such checkpoint"),
        (["all", "--run", "nowhere", "--out", "new"], "nowhere: no such run"),
        (["all", "--run", "run", "--out", "new"], "no such checkpoint"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], fact: str
) -> None:
    a_run(tmp_path / "run")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "other.safetensors").write_bytes(b"something else")
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli.main(["figures", *arguments]) == 1
    message = capsys.readouterr().err
    assert fact in message
    assert message.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_clip_without_sound_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from media_factory import VideoTrack, write_media

    write_media(tmp_path / "mute.mp4", VideoTrack(seconds=0.4, rate=25), None)
    out = tmp_path / "x.png"
    model = str(bundled_model_folder())
    assert cli.main(["figures", "panels", model, str(tmp_path / "mute.mp4"), "--out", str(out)]) == 1
    assert "has no sound to localise" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["history", "run", "--window", "0"], ["receptive-field", "--pictures", "0"]])
def test_usage_mistakes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(["figures", *arguments, "--out", "x.png"])
    assert exit.value.code == 2
    assert "must be" in capsys.readouterr().err
