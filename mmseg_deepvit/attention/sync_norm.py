"""A BatchNorm of maps whose statistics all processes share, on any device.

Paper: BatchNorm, https://arxiv.org/abs/1502.03167.
Deviations: ``torch.nn.SyncBatchNorm`` needs GPUs, and DistributedDataParallel refuses models on
CPUs that hold one, although what is shared here is small: backends that never build a map exchange
its H×H moments (:mod:`mmseg_deepvit.attention.map_statistics`), and the explicit one, below, count,
mean and mean square of each head.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributed import _functional_collectives as collectives
from torch.nn.modules.batchnorm import _BatchNorm


class SyncMapNorm(nn.BatchNorm2d):
    """BatchNorm2d over the maps of all processes; with one process, BatchNorm2d.

    Its parameters and buffers are those of BatchNorm2d and SyncBatchNorm.

    Args:
        num_features: Number of heads H.
        process_group: Who shares the statistics; None for all processes.
        **kwargs: ``eps``, ``momentum``, ``affine`` and ``track_running_stats`` as in BatchNorm2d.
    """

    def __init__(
        self, num_features: int, process_group: dist.ProcessGroup | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_features, **kwargs)
        self.process_group = process_group

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps.

        Args:
            maps: (B, H, N, N), on every process; B and N may differ between them.

        Returns:
            (B, H, N, N).
        """
        group = sync_group(self)
        if not group:
            return super().forward(maps)
        count = maps.numel() // maps.shape[1]
        if count:
            var, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        else:  # zeros that autograd follows: in backward the other processes wait for this one
            var = mean = maps.sum(dim=(0, 2, 3))
        own = torch.cat([mean, var + mean.square()]).double() * count
        total = _SumOver.apply(torch.cat([own, own.new_full((1,), count)]), group)
        mean, square = (total[:-1] / total[-1].clamp(min=1)).chunk(2)
        var = (square - mean.square()).clamp(min=0)
        update_running(self, mean.detach(), var.detach(), total[-1].detach())
        factor = (var + self.eps).rsqrt()
        shift = -mean * factor
        if self.weight is not None:
            factor, shift = factor * self.weight, shift * self.weight + self.bias
        return torch.addcmul(
            shift.to(maps.dtype)[:, None, None], maps, factor.to(maps.dtype)[:, None, None]
        )


@torch.no_grad()
def update_running(norm: _BatchNorm, mean: Tensor, var: Tensor, count: Tensor) -> None:
    """Update running statistics as BatchNorm2d does, which an empty batch leaves as they are.

    Args:
        norm: Nothing is done where it keeps no running statistics.
        mean: (H,), of the batch.
        var: (H,), biased variance of the batch; the unbiased one is stored.
        count: (), entries of each head; any mean and variance will do with 0.
    """
    if norm.running_mean is None or norm.running_var is None:
        return
    momentum: float | Tensor | None = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / norm.num_batches_tracked
    assert momentum is not None
    unbiased = var * count / (count - 1)
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        moved = (1 - momentum) * running + (momentum * new).to(running.dtype)
        running.copy_(torch.where(count > 0, moved, running))


def sync_group(norm: _BatchNorm) -> str:
    """Name of the process group that a norm shares its statistics in; empty for none.

    Args:
        norm: Of training and of type :class:`SyncMapNorm` or SyncBatchNorm, if it is to share any.
    """
    if not (isinstance(norm, (SyncMapNorm, nn.SyncBatchNorm)) and norm.training):
        return ""
    if not (dist.is_available() and dist.is_initialized()):
        return ""
    group = norm.process_group or dist.group.WORLD
    assert group is not None
    return group.group_name if dist.get_world_size(group) > 1 else ""


def sum_over(group: str, tensor: Tensor) -> Tensor:
    """The sum over the processes of a group, by its name; as it is if the name is empty."""
    if not group:
        return tensor
    # A name serves as group in every version; newer ones have a type of its own for it.
    name: Any = group
    return collectives.wait_tensor(collectives.all_reduce(tensor, "sum", name))


class _SumOver(Function):
    """:func:`sum_over`, whose gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: str) -> Tensor:
        ctx.group = group
        return sum_over(group, tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return sum_over(ctx.group, grad.contiguous()), None
