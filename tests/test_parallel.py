"""Two processes learn what one would have learnt: loss by loss, weight by weight."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from avol.runtime.errors import AvolError
from avol.train.parallel import Team, TeamBatchNorm2d, with_team_statistics

# One run of the tests' small network; writes its losses, and its weights in the leading process.
WORKER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_loop, torch
from avol.train.anchors import ClassAnchors
from avol.train.learner import Learner
from avol.train.loop import train
from avol.train.parallel import join_team, leave_team
torch.set_num_threads(1)
out, stop_at = Path(sys.argv[2]), int(sys.argv[3])
team = join_team(torch.device("cpu"))
network = test_loop.small_network()
torch.manual_seed(1)
anchors = ClassAnchors(test_loop.KINDS, 128)
options = replace(test_loop.OPTIONS, log_every=1)
batch_at = test_loop.batch_at(options.seed)
if stop_at == 0:
    learner = Learner(network, anchors, options, torch.device("cpu"), team)
    learner.step(0, batch_at(0))
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    if team.leads:
        torch.save(gradients | {"anchors": anchors.vectors.grad}, out)
    leave_team()
    sys.exit()
def batch_or_stop(step):
    if step == stop_at:
        raise test_loop.InterruptedRunError
    if stop_at == -2 and step == 2 and not team.leads:
        os.kill(os.getpid(), signal.SIGTERM)
    return batch_at(step)
validation = [batch_at(1000)]
train(network, batch_or_stop, options, out, anchors=anchors, validation=validation, team=team)
leave_team()
"""
STEPS = 6


def worker(out: Path, *, processes: int, stop_at: int = -1) -> subprocess.CompletedProcess[str]:
    script = out.parent / "worker.py"
    script.write_text(WORKER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(script), str(Path(__file__).parent), str(out), str(stop_at)]
    command = [sys.executable, *arguments]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(port)]
        command = [sys.executable, *launcher, *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment | {"OMP_NUM_THREADS": "1"}, check=False
    )


def losses(out: Path) -> dict[int, float]:
    import json

    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def validation_loss(out: Path) -> float:
    import json

    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return float([record["validation_loss"] for record in records if "validation_loss" in record][-1])


def run_worker(out: Path, *, processes: int, stop_at: int = -1) -> None:
    result = worker(out, processes=processes, stop_at=stop_at)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_processes_find_the_gradient_that_one_finds(tmp_path: Path) -> None:
    """Six pictures and four sounds a batch: the shares of three processes differ in length.

    A share summed instead of averaged would be wrong by a factor; half a percent is what rounding alone moves through
    the maxima of the audio tower.
    """
    for processes in (1, 3):
        run_worker(tmp_path / str(processes), processes=processes, stop_at=0)
    alone, together = (torch.load(tmp_path / name, weights_only=True) for name in ("1", "3"))
    assert alone.keys() == together.keys()
    for name, gradient in alone.items():
        assert torch.linalg.norm(together[name] - gradient) <= 0.01 * torch.linalg.norm(gradient), name


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    for processes in (1, 2):
        run_worker(tmp_path / str(processes), processes=processes)
    single, double = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert sorted(single) == list(range(1, STEPS + 1))
    assert double[1] == pytest.approx(single[1], rel=1e-5)
    # Adam divides a gradient by its own size: where that is rounding, so is the step, and runs drift apart.
    assert double == pytest.approx(single, rel=0.02)
    assert single[STEPS] < 0.85 * single[1]
    assert validation_loss(tmp_path / "2") == pytest.approx(validation_loss(tmp_path / "1"), rel=0.05)


@pytest.mark.slow
def test_interrupted_team_goes_on(tmp_path: Path) -> None:
    whole = worker(tmp_path / "whole", processes=2)
    assert whole.returncode == 0, whole.stderr
    assert worker(tmp_path / "parts", processes=2, stop_at=5).returncode != 0
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"] == 3
    # Asked to stop, one process takes the other along: both make the same step, which is saved.
    asked = worker(tmp_path / "asked", processes=2, stop_at=-2)
    assert "KeyboardInterrupt" in asked.stderr
    assert torch.load(tmp_path / "asked" / "state.pt", weights_only=True)["step"] in range(1, STEPS)
    for name in ("parts", "asked"):
        assert worker(tmp_path / name, processes=2).returncode == 0
        assert losses(tmp_path / name) == losses(tmp_path / "whole")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_shares_hold_every_row_once(size: int, count: int) -> None:
    rows = torch.arange(count)
    shares = [Team(rank, size).share(rows) for rank in range(size)]
    assert sorted(torch.cat(shares).tolist()) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_team_statistics_keep_names_and_values() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    nn.init.uniform_(network[1][0].weight)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with_team_statistics(network)
    assert type(network[1][0]) is TeamBatchNorm2d
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_batch_for_more_processes_than_rows_is_one_line() -> None:
    from avol.train.learner import Learner
    from test_loop import OPTIONS, batch_at, small_network

    learner = Learner(small_network(), None, OPTIONS, torch.device("cpu"), Team(0, 5))
    with pytest.raises(AvolError, match="a batch of 6 pictures and 4 sounds is too little for 5 processes"):
        learner.step(0, batch_at(0)(0))


def test_without_torchrun_there_is_no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    from avol.train.parallel import join_team

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = join_team(torch.device("cpu"))
    assert (team.rank, team.size, team.leads) == (0, 1, True)
