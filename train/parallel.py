"""Several processes that learn as one: ``torchrun`` starts them, each takes its share of every batch's rows.

The loss compares every picture of a batch with every sound of it, so the embeddings of all processes are brought
together and every process computes the whole loss. Batch norm takes its statistics over the whole batch as well. What
comes out is what one process would have computed on the same batch, up to the order of sums.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce as all_reduce_with_gradient

from avol.runtime.errors import AvolError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Team:
    """The processes of a run; ``rank`` is this one's number, 0 writes the files."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """The rows that this process works on: every ``size``-th, so that shares differ by one row at most."""
        return rows[self.rank :: self.size]

    def gather(self, share: Tensor, count: int) -> Tensor:
        """The ``count`` rows of all processes in their order, with a gradient to this one's.

        The loss on them is computed by every process alike, so each has the gradient of its own rows at hand.
        """
        gathered: Tensor = share if self.size == 1 else _Gather.apply(share, self, count)  # type: ignore[no-untyped-call]
        return gathered

    def sum_gradients(self, module: nn.Module) -> None:
        """Add up what the rows of each process contribute to the gradients of a module that works on rows."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def take_gradients(self, module: nn.Module) -> None:
        """Take the leader's gradients of a module that sees all rows in every process.

        Every process has computed the same; where a device sums in no fixed order, the last digits differ, and the
        copies of the module would drift apart.
        """
        if self.size > 1:
            for parameter in module.parameters():
                if parameter.grad is not None:
                    dist.broadcast(parameter.grad, src=0)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up in any of the processes; all get the same answer."""
        if self.size == 1:
            return flag
        raised = torch.tensor(int(flag), device=device)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return bool(raised.item())

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


def join_team(device: torch.device) -> Team:
    """Meet the other processes that ``torchrun`` started, if it did.

    Raises:
        AvolError: they cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Team()
    if not dist.is_initialized():
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise AvolError(f"torchrun: the other processes cannot be reached ({reason}); check its options.") from None
    return Team(dist.get_rank(), dist.get_world_size())


def leave_team() -> None:
    """Part from the other processes, at the end of the program."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _team_sum(values: Tensor) -> Tensor:
    """The sum over all processes, with the gradient that flows to each."""
    total: Tensor = all_reduce_with_gradient(values)  # type: ignore[no-untyped-call]
    return total


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward keeps the part that belongs to this one's."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, team: Team, count: int) -> Tensor:  # noqa: ANN401 (torch's own)
        ctx.team, ctx.count = team, count
        longest = -(-count // team.size)
        padded = F.pad(share, [0, 0] * (share.ndim - 1) + [0, longest - len(share)]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(team.size)]
        dist.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:count]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return ctx.team.share(gradients[0]), None, None


class TeamBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of the rows of all processes, on any device."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``N x C x H x W``."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        rows = values.new_tensor([values.numel() / values.shape[1]])
        dist.all_reduce(rows)
        count = rows.item()
        mean = _team_sum(values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]  # the mean first: squares of what is far from zero lose their digits
        variance = _team_sum(centred.square().sum(dim=(0, 2, 3))) / count
        self._track(mean.detach(), variance.detach(), count)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: float) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1


def with_team_statistics(network: Network) -> Network:
    """Exchange the batch norms of a network, in place; parameters and their names stay."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                norm = TeamBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
                norm.to(child.weight.device).load_state_dict(child.state_dict())
                setattr(module, name, norm.train(child.training))
    return network
