"""Telling when the contrastive loss has stopped to act."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from torch import Tensor

#: A loss below this is logged as 0.0000, and its gradient is as small.
LEAST_LOSS = 5e-5
#: Reading a loss waits for the device, so it is done once in so many calls.
INTERVAL = 50


class SaturationWatch:
    """Says once, in one line, that the contrastive loss is zero to all digits that are logged.

    Dot products of long tokens differ by so much that the softmax is one: the loss and its gradient
    vanish, whatever the tokens do.

    Args:
        remedy: What to set.
    """

    def __init__(self, remedy: str) -> None:
        self.remedy = remedy
        self.calls = 0
        self.told = False

    def look(self, loss: Tensor) -> None:
        """Look at a loss, once in :data:`INTERVAL` calls.

        Args:
            loss: Contrastive loss before it is weighted, ().
        """
        due = not self.told and self.calls % INTERVAL == 0
        self.calls += 1
        if due and (value := abs(float(loss.detach()))) < LEAST_LOSS:
            self.told = True
            print_log(
                f"The contrastive loss is {value:.1e}: it has no effect, since dot products of "
                f"tokens as long as these saturate its softmax; {self.remedy}",
                "current",
                logging.WARNING,
            )
