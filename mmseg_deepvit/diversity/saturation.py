"""Telling when the contrastive loss has stopped to act."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from torch import Tensor

#: A loss below this is logged as 0.0000, and its gradient is as small.
LEAST_LOSS = 5e-5
#: Reading a loss waits for the device, so it is done once in so many calls.
INTERVAL = 50
#: Looks in a row that must find it so.
LOOKS = 2


class SaturationWatch:
    """Says once, in one line, that the contrastive loss is zero to all digits that are logged.

    Dot products of long tokens differ by so much that the softmax is one: the loss and its gradient
    vanish, whatever the tokens do. A single batch may be so by chance; two looks are not.

    Args:
        remedy: What to set.
    """

    def __init__(self, remedy: str) -> None:
        self.remedy = remedy
        self.calls = 0
        self.streak = 0

    def look(self, loss: Tensor) -> None:
        """Look at a loss, once in :data:`INTERVAL` calls.

        Args:
            loss: Contrastive loss before it is weighted, ().
        """
        due = self.streak < LOOKS and self.calls % INTERVAL == 0
        self.calls += 1
        if not due:
            return
        value = abs(float(loss.detach()))
        self.streak = self.streak + 1 if value < LEAST_LOSS else 0
        if self.streak == LOOKS:
            print_log(
                f"The contrastive loss is {value:.1e}, as {INTERVAL} iterations ago: it has no "
                "effect, since dot products of tokens as long as these saturate its softmax; "
                f"{self.remedy}",
                "current",
                logging.WARNING,
            )
