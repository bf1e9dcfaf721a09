"""A vote of all processes on stopping, which does not wait for a GPU."""

from __future__ import annotations

import torch
import torch.distributed as dist
from mmengine.dist import get_comm_device, get_world_size
from torch import Tensor


class StopVote:
    """Vote on stopping; all processes get the same answer in the same call.

    With several processes the answer is one call old. Reading it waits for the GPU's earlier work,
    not for its present work.
    """

    def __init__(self) -> None:
        self._before: tuple[Tensor, torch.cuda.Event | None] | None = None

    def __call__(self, asked: bool) -> bool:
        """Give a vote and return the answer.

        Args:
            asked: Whether this process was asked to stop.

        Returns:
            Whether any process was asked: now if there is one, before the last call if several.
        """
        if get_world_size() == 1:
            return asked
        answer = False
        if self._before is not None:
            vote, event = self._before
            if event is not None:
                event.synchronize()
            answer = bool(vote)
        device = get_comm_device()
        vote = torch.full((1,), int(asked), device=device)  # does not wait for a GPU
        dist.all_reduce(vote, dist.ReduceOp.MAX)
        event = None
        if device.type == "cuda":
            vote = vote.to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._before = vote, event
        return answer
