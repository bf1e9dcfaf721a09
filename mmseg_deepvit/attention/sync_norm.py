"""BatchNorm of maps whose statistics all processes share, on any device.

Paper: BatchNorm, https://arxiv.org/abs/1502.03167.
Deviations: ``torch.nn.SyncBatchNorm`` needs GPUs, and DistributedDataParallel refuses models on
CPUs that hold one. The norm here works on CPUs too, because processes exchange little. The explicit
backend exchanges count, mean and mean square of each head, streamed backends exchange H×H moments
(:mod:`mmseg_deepvit.attention.map_statistics`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributed import _functional_collectives
from torch.nn.modules.batchnorm import _BatchNorm

#: Any, because half of the module is untyped. Its functions take names of groups in all versions.
_collectives: Any = _functional_collectives


class SyncMapNorm(nn.BatchNorm2d):
    """BatchNorm2d over the maps of all processes, with the parameters and buffers of BatchNorm2d.

    Args:
        num_features: Number of heads H.
        process_group: Processes that share the statistics; None for all.
        **kwargs: Arguments ``eps``, ``momentum``, ``affine`` and ``track_running_stats`` of
            BatchNorm2d.
    """

    def __init__(
        self, num_features: int, process_group: dist.ProcessGroup | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_features, **kwargs)
        self.process_group = process_group

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise maps.

        Args:
            maps: Maps of this process, (B, H, N, N); B and N may differ between processes.

        Returns:
            (B, H, N, N).
        """
        group = sync_group(self)
        if not group:
            return super().forward(maps)
        count = maps.numel() // maps.shape[1]
        if count:
            var, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        else:  # zeros that autograd tracks: the other processes wait for this one's backward
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
    """Update running statistics like BatchNorm2d; an empty batch leaves them unchanged.

    Args:
        norm: BatchNorm, with or without running statistics.
        mean: Mean of the batch, (H,).
        var: Biased variance of the batch, (H,). Running statistics are of the unbiased one.
        count: Number of entries of each head, (). If it is 0, ``mean`` and ``var`` do not matter.
    """
    if norm.running_mean is None or norm.running_var is None:
        return
    momentum: float | Tensor | None = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / norm.num_batches_tracked
    assert momentum is not None
    share = (count.clamp(max=1) * momentum).to(norm.running_mean.dtype)
    unbiased = var * (count / (count - 1))
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.lerp_(new.to(running.dtype), share)


def sync_group(norm: _BatchNorm) -> str:
    """Name the process group that shares a norm's statistics; the name is empty for no group.

    Args:
        norm: BatchNorm. Only :class:`SyncMapNorm` and SyncBatchNorm in training share statistics.
    """
    if not (isinstance(norm, (SyncMapNorm, nn.SyncBatchNorm)) and norm.training):
        return ""
    if not (dist.is_available() and dist.is_initialized()):
        return ""
    group = norm.process_group or dist.group.WORLD
    assert group is not None
    return group.group_name if dist.get_world_size(group) > 1 else ""


def sum_over(group: str, tensor: Tensor) -> Tensor:
    """Sum a tensor over the processes of a named group; an empty name returns it unchanged."""
    if group:
        tensor = _collectives.wait_tensor(_collectives.all_reduce(tensor, "sum", group))
    return tensor


class _SumOver(Function):
    """:func:`sum_over` with a gradient: the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: str) -> Tensor:
        ctx.group = group
        return sum_over(group, tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return sum_over(ctx.group, grad.contiguous()), None
