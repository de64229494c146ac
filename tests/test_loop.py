"""The training loop: it learns, it goes on where it was, and what it does when it cannot."""

from __future__ import annotations

import errno
import json
import math
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avol.runtime.errors import AvolError
from avol.train.anchors import ClassAnchors
from avol.train.board import Board
from avol.train.checkpoint import load_checkpoint, read_checkpoint_spec, save_checkpoint
from avol.train.data.batch import Batch, BatchAt, TensorBatch, seeded
from avol.train.learner import Learner, StepResult
from avol.train.loop import train
from avol.train.network import TwoTowerNetwork, preset_spec
from avol.train.network.avol_net import AvolNet
from avol.train.recipes import TrainingOptions, learning_rate_at
from avol.train.run_log import Meter
from avol.train.validation import ValidationAnswers

SPEC = preset_spec("avol-128-half-width")
KINDS = 3
ADD, STEP = Meter.add, Learner.step  # as they are, for tests that stand in between
OPTIONS = TrainingOptions(steps=6, learning_rate=2e-3, warmup_steps=2, checkpoint_every=3, log_every=2, seed=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps this small gain nothing from a second thread, which beside a busy core costs fifty times the step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class InterruptedRunError(Exception):
    """Stands for the kill of a run."""


def draw(rng: np.random.Generator) -> Batch:
    """Three kinds with a colour and a pitch each; two pictures of every kind, a sound of every kind, and silence."""
    colours = np.array([(220, 40, 40), (40, 220, 40), (40, 40, 220)])
    frames = rng.integers(60, 120, (2 * KINDS, 128, 128, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        y, x = rng.integers(0, 64, 2)
        # Not flat: where many cells share a maximum, rounding decides which of them gets the gradient.
        frame[y : y + 64, x : x + 64] = colours[number % KINDS] + rng.integers(-30, 30, (64, 64, 3))
    times = np.arange(SPEC.spectrogram.clip_samples) / SPEC.spectrogram.sample_rate_hz
    tones = [0.3 * np.sin(2 * np.pi * hertz * times + rng.uniform(0, 6)) for hertz in (300, 1200, 4000)]
    samples = np.stack([*tones, np.zeros_like(times)]).astype(np.float32)
    samples += 1e-3 * rng.standard_normal(samples.shape, dtype=np.float32)
    kinds = np.eye(KINDS, dtype=np.bool_)
    seen, heard = np.tile(kinds, (2, 1)), np.vstack([kinds, np.zeros((1, KINDS), np.bool_)])
    matches = seen @ heard.T
    return Batch(
        frames, samples, matches, np.ones_like(matches), (seen, np.ones_like(seen)), (heard, np.ones_like(heard))
    )


def batch_at(seed: int) -> BatchAt:
    return seeded(draw, seed, torch.device("cpu"))


def small_network(seed: int = 0) -> TwoTowerNetwork:
    """An eighth of the width: steps of a few hundredths of a second."""
    torch.manual_seed(seed)
    return AvolNet(SPEC, width=0.125)


def run(
    out: Path, options: TrainingOptions = OPTIONS, *, network: TwoTowerNetwork | None = None, stop_at: int = -1
) -> TwoTowerNetwork:
    """Train a small network with anchors; ``stop_at`` breaks off when that step's batch is asked for."""
    network = network or small_network()
    torch.manual_seed(1)
    anchors = ClassAnchors(KINDS, SPEC.embedding_size)

    def draw_or_stop(step: int) -> TensorBatch:
        if step == stop_at:
            raise InterruptedRunError
        return batch_at(options.seed)(step)

    train(network, draw_or_stop, options, out, anchors=anchors)
    return network


def records(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_learns_what_belongs_together(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=40, warmup_steps=5, log_every=10, learning_rate=5e-3)
    network = run(tmp_path, options)
    log = records(tmp_path)
    assert [record["step"] for record in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]
    assert log[-1]["accuracy"] > 0.85
    assert not network.training
    assert {"checkpoint.safetensors", "log.jsonl", "state.pt"} <= {path.name for path in tmp_path.iterdir()}


def test_bfloat16_learns_too(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=24, log_every=8, learning_rate=5e-3, precision="bfloat16")
    network = run(tmp_path, options)
    log = records(tmp_path)
    assert log[-1]["loss"] < log[0]["loss"]
    assert all(tensor.dtype != torch.bfloat16 for tensor in network.state_dict().values())


def test_batch_norm_learns_its_statistics(tmp_path: Path) -> None:
    network = small_network().eval()  # train() has to put it into training mode
    run(tmp_path, network=network)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == OPTIONS.steps for norm in norms)


def test_interrupted_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(InterruptedRunError):  # two batches are drawn ahead: steps 3 and 4 are made, and lost
        run(tmp_path / "parts", stop_at=5)
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"] == 3
    resumed = run(tmp_path / "parts", network=small_network(seed=99))  # whatever it starts with is replaced
    assert_equal(whole.state_dict(), resumed.state_dict())
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts")]
    assert_equal(states[0]["anchors"], states[1]["anchors"])
    for index, moments in states[0]["optimizer"]["state"].items():
        assert_equal(moments, states[1]["optimizer"]["state"][index])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_request_to_stop_finishes_the_step_and_saves_it(tmp_path: Path, number: signal.Signals) -> None:
    whole = run(tmp_path / "whole")
    before = signal.getsignal(number)
    torch.manual_seed(1)
    anchors, network = ClassAnchors(KINDS, SPEC.embedding_size), small_network()

    def request_at_fourth(_: torch.nn.Module, __: object, ___: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            signal.raise_signal(number)
            signal.raise_signal(number)  # as from a launcher that passes on what the terminal has sent already

    calls = 0
    handle = network.audio_tower.register_forward_hook(request_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        train(network, batch_at(OPTIONS.seed), OPTIONS, tmp_path / "parts", anchors=anchors)
    handle.remove()
    assert signal.getsignal(number) == before
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"] == 4
    assert_equal(whole.state_dict(), run(tmp_path / "parts", network=small_network(seed=9)).state_dict())


def test_second_request_to_stop_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def request_twice(self: Learner, step: int, batch: TensorBatch) -> StepResult:
        if step == 4:
            signal.raise_signal(signal.SIGINT)
            monkeypatch.setattr("avol.train.loop.ONE_REQUEST_SECONDS", -1.0)  # as if it were later
            signal.raise_signal(signal.SIGINT)
        return STEP(self, step, batch)

    monkeypatch.setattr(Learner, "step", request_twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3  # the last that was due


def test_log_of_steps_made_again_is_dropped(tmp_path: Path) -> None:
    options = replace(OPTIONS, log_every=1)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, options, stop_at=5)
    assert [record["step"] for record in records(tmp_path)] == [1, 2, 3, 4, 5]
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "los')
    run(tmp_path, options)
    assert [record["step"] for record in records(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_checkpoint_that_got_lost_is_written_again(tmp_path: Path) -> None:
    run(tmp_path)
    checkpoint = (tmp_path / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").unlink()
    run(tmp_path, network=small_network(seed=99))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == checkpoint


def test_checkpoint_without_a_state_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"somebody's")
    assert_refused(tmp_path, "checkpoint.safetensors", "without state.pt", "choose another --out")
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == b"somebody's"


def test_validation_is_logged_and_learns_nothing(tmp_path: Path) -> None:
    options = replace(OPTIONS, validate_every=2)
    with_validation, without = small_network(), small_network()
    torch.manual_seed(1)
    train(with_validation, batch_at(3), options, tmp_path / "a", validation=[batch_at(50)(0), batch_at(51)(0)])
    train(without, batch_at(3), options, tmp_path / "b")
    assert_equal(with_validation.state_dict(), without.state_dict())
    validations = [record for record in records(tmp_path / "a") if "validation_loss" in record]
    assert [record["step"] for record in validations] == [2, 4, 6]
    assert all(0 <= record["validation_accuracy"] <= 1 for record in validations)


def test_progress_line_ends_at_the_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "6/6" in last
    assert all(name in last for name in ("loss=", "accuracy=", "pairs/s="))


def test_log_tells_how_fast_it_went(tmp_path: Path) -> None:
    run(tmp_path)
    for record in records(tmp_path):
        assert record["pairs_per_second"] > 0
        assert 0 <= record["waiting_share"] <= 1


def test_the_last_steps_are_logged_and_pairs_are_pictures_with_their_sounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def counting(self: Meter, result: StepResult, *, pairs: int) -> None:
        counted.append(pairs)
        ADD(self, result, pairs=pairs)

    monkeypatch.setattr(Meter, "add", counting)
    run(tmp_path, replace(OPTIONS, steps=5, log_every=3, epochs=lambda steps: steps / 2))
    assert [(record["step"], record["epoch"]) for record in records(tmp_path)] == [(3, 1.5), (5, 2.5)]
    assert counted == [2 * KINDS] * 5  # and not the 24 meetings of six pictures with four sounds


def test_checkpoint_tells_the_steps_that_were_made(tmp_path: Path) -> None:
    """Neither those planned when a run was cut off, nor those of a later, shorter order."""

    def made() -> str:
        return read_checkpoint_spec(tmp_path / "checkpoint.safetensors").training["steps"]

    planned = replace(SPEC, training={"steps": "6"})
    with pytest.raises(InterruptedRunError):
        run(tmp_path, network=AvolNet(planned, width=0.125), stop_at=5)
    assert made() == "3"
    run(tmp_path, network=AvolNet(planned, width=0.125))
    assert made() == "6"
    shorter = AvolNet(replace(SPEC, training={"steps": "2"}), width=0.125)
    run(tmp_path, replace(OPTIONS, steps=2), network=shorter)
    assert made() == "6"


@pytest.mark.parametrize("when", [2, 5])
def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """The step that spoils the network still has a loss: only the next one shows it, after the save."""

    def spoiling(self: Learner, step: int, batch: TensorBatch) -> StepResult:
        result = STEP(self, step, batch)
        if step == when:
            torch.nn.init.constant_(self.network.head.scale, math.nan)
        return result

    monkeypatch.setattr(Learner, "step", spoiling)
    with pytest.raises(AvolError, match=f"no longer a number at step {when}") as caught:
        run(tmp_path)
    if when == 2:
        assert str(caught.value).endswith("No checkpoint was written before.")
        assert not (tmp_path / "checkpoint.safetensors").exists()
    else:
        assert str(caught.value).endswith("The last checkpoint is good.")
        assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3


def test_short_batches_weigh_what_they_hold() -> None:
    maps = torch.tensor([3.0, 1.0, -1.0, -2.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    truth = torch.tensor([[True], [True], [True], [False]])
    answers = ValidationAnswers()
    for part, loss in ((slice(0, 3), 1.0), (slice(3, 4), 5.0)):
        answers.add_pairs(loss, maps[part], truth[part], torch.ones_like(truth[part]))
    quarters = torch.full((2, 2, 4, 4), -1.0)
    quarters[0, 0, 3, 0], quarters[1, 1, 0, 0] = 1.0, 1.0
    answers.add_quarters(quarters, torch.tensor([2, 1]))
    assert answers.record() == {
        "validation_loss": 2.0,
        "validation_accuracy": pytest.approx((2 / 3 + 1) / 2),
        "validation_auc": 1.0,
        "validation_right_quarter": 0.5,
    }


@pytest.mark.parametrize("method", ["open", "add_scalar", "add_images"])
def test_a_disk_that_fills_up_under_tensorboard_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    writer = pytest.importorskip("torch.utils.tensorboard.writer")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = threading.excepthook
    monkeypatch.setattr(writer.SummaryWriter, "__init__" if method == "open" else method, full)
    monkeypatch.setattr(writer.SummaryWriter, "close", lambda self: full() if method != "open" else None)
    with pytest.raises(AvolError, match="tensorboard: cannot be written: No space left on device"):
        run(tmp_path)
    assert threading.excepthook is before


def test_only_tensorboards_own_thread_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch.utils.tensorboard.writer")
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    board = Board(tmp_path, 0)
    try:
        hook = threading.excepthook
        error = OSError(errno.ENOSPC, "No space left on device")
        thread = type("Thread", (threading.Thread,), {"__module__": "tensorboard.summary.writer"})()
        hook(threading.ExceptHookArgs((OSError, error, None, thread)))
        assert told == []
        other = threading.ExceptHookArgs((OSError, error, None, threading.Thread()))
        hook(other)
        assert told == [other]
    finally:
        board.close()


def test_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run(tmp_path, network=small_network(seed=99))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [None, b"junk"])
def test_finished_run_keeps_what_was_calibrated_and_restores_what_is_lost(
    tmp_path: Path, content: bytes | None
) -> None:
    network, path = run(tmp_path), tmp_path / "checkpoint.safetensors"
    written = path.read_bytes()
    save_checkpoint(network, replace(network.spec, threshold=0.25), path)
    run(tmp_path, network=small_network(seed=99))
    assert read_checkpoint_spec(path).threshold == 0.25
    path.unlink() if content is None else path.write_bytes(content)
    run(tmp_path, network=small_network(seed=99))
    assert path.read_bytes() == written


def test_seed_decides_the_batches(tmp_path: Path) -> None:
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    other = run(tmp_path / "c", replace(OPTIONS, seed=4))
    assert_equal(first.state_dict(), again.state_dict())
    assert not torch.equal(first.head.scale, other.head.scale)


def spoil_at(step: int, network: TwoTowerNetwork, where: str) -> None:
    """Make the loss or the gradient of one step not a number."""
    made = 0

    def hook(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        nonlocal made
        made += 1
        if made - 1 != step:
            return output
        if where == "loss":
            return output * math.nan
        output.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
        return output

    network.audio_tower.register_forward_hook(hook)


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("step", [4, 5])
def test_not_a_number_leaves_the_last_good_checkpoint(tmp_path: Path, where: str, step: int) -> None:
    """Step 5 is the last one, and would be saved."""
    network = small_network()
    spoil_at(step, network, where)
    with pytest.raises(AvolError, match=rf"no longer a number at step {step}; lower --learning-rate"):
        run(tmp_path, network=network)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 3
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def assert_refused(out: Path, *words: str, network: TwoTowerNetwork | None = None) -> None:
    with pytest.raises(AvolError) as caught:
        run(out, network=network)
    assert "\n" not in str(caught.value)
    for word in (str(out), *words):
        assert word in str(caught.value)


def test_run_of_another_preset(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    other = AvolNet(preset_spec("avol-128"), width=0.125)
    assert_refused(tmp_path, "avol-128-half-width", "not of avol-128", "choose another --out", network=other)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_run_on_other_classes(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(AvolError, match="holds a run on other classes; choose another --out"):
        train(small_network(), batch_at(0), OPTIONS, tmp_path, anchors=ClassAnchors(KINDS + 1, SPEC.embedding_size))
    with pytest.raises(AvolError, match="holds a run on other classes; choose another --out"):
        train(small_network(), batch_at(0), OPTIONS, tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 no archive"])
def test_state_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    assert_refused(tmp_path, "state.pt", "choose another --out")


@pytest.mark.parametrize("state", [[1, 2], {"step": 3}])
def test_state_of_someone_else(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "state.pt")
    assert_refused(tmp_path, "state.pt", "not a training state")


def test_truncated_state(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "state.pt"
    path.write_bytes(path.read_bytes()[:20_000])
    assert_refused(tmp_path, "state.pt", "not a readable training state")


def test_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert_refused(tmp_path / "out", "cannot be made", "choose another --out")
    assert (tmp_path / "out").read_text() == "mine"


FULL_DISK = """
import resource, sys
from pathlib import Path
from dataclasses import replace
sys.path.insert(0, sys.argv[2])
import test_loop, torch
torch.set_num_threads(1)
from avol.runtime.errors import AvolError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    test_loop.run(Path(sys.argv[1]))
except AvolError as error:
    print(error)
"""


def test_full_disk_leaves_the_last_state(tmp_path: Path) -> None:
    """A limit on file sizes stands in for the full disk."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with pytest.raises(InterruptedRunError):
        run(tmp_path, stop_at=5)
    kept = ("state.pt", "checkpoint.safetensors")
    before = {name: (tmp_path / name).read_bytes() for name in kept}
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(Path(__file__).parent)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.count("\n") == 1
    assert result.stdout.startswith(f"{tmp_path}/state.pt: cannot be written: File too large")
    assert {name: (tmp_path / name).read_bytes() for name in kept} == before


def test_checkpoint_of_a_real_preset_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = AvolNet(SPEC, width=0.5)
    train(network, batch_at(0), replace(OPTIONS, steps=2, warmup_steps=1), tmp_path)
    assert_equal(load_checkpoint(tmp_path / "checkpoint.safetensors").state_dict(), network.state_dict())


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    options = TrainingOptions(steps=1000, learning_rate=0.5, warmup_steps=100)
    rates = [learning_rate_at(step, options) for step in range(1001)]
    assert rates[0] == pytest.approx(0.5 / 100)
    assert rates[49] == pytest.approx(0.25, rel=0.01)
    assert rates[99] == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.099)))
    assert rates[500] == pytest.approx(0.25)
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)
    assert np.argmax(rates) in range(95, 100)
    assert np.all(np.diff(rates[100:]) < 0)
    assert max(rates) <= 0.5
