"""Processes that ask each other whether to stop, without waiting for a GPU."""

from __future__ import annotations

import torch
import torch.distributed as dist
from mmengine.dist import get_comm_device, get_world_size
from torch import Tensor


class StopVote:
    """Whether any process was asked to stop; all learn it in the same call.

    With several processes the answer is that of the call before: reading it waits for what a GPU
    had to do then, not for what it does now.
    """

    def __init__(self) -> None:
        self._before: tuple[Tensor, torch.cuda.Event | None] | None = None

    def __call__(self, asked: bool) -> bool:
        """Vote.

        Args:
            asked: Whether this process was asked to stop.

        Returns:
            Whether any process was, of itself alone now, of several at the call before.
        """
        if get_world_size() == 1:
            return asked
        answer = self._answer()
        device = get_comm_device()
        vote = torch.full((1,), int(asked), device=device)  # on a GPU too without waiting
        dist.all_reduce(vote, dist.ReduceOp.MAX)
        event = None
        if device.type == "cuda":
            vote = vote.to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._before = vote, event
        return answer

    def _answer(self) -> bool:
        if self._before is None:
            return False
        vote, event = self._before
        if event is not None:
            event.synchronize()
        return bool(vote)
