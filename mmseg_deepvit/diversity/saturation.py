"""A warning for a contrastive loss without effect."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from torch import Tensor

#: Loss below which the log shows 0.0000; the gradient is as small.
LEAST_LOSS = 5e-5
#: Number of calls between two readings; reading a loss waits for the device.
INTERVAL = 50
#: Number of small readings in a row before the warning.
LOOKS = 2


class SaturationWatch:
    """Warn once, in one line, if the contrastive loss is zero in all logged digits.

    Dot products of long tokens can differ so much that the softmax is one. Loss and gradient then
    vanish for any tokens. One small reading may be chance; two in a row are not.

    Args:
        remedy: Settings that help, for the message.
    """

    def __init__(self, remedy: str) -> None:
        self.remedy = remedy
        self.calls = 0
        self.streak = 0

    def look(self, loss: Tensor) -> None:
        """Read the unweighted contrastive loss, once in :data:`INTERVAL` calls."""
        due = self.streak < LOOKS and self.calls % INTERVAL == 0
        self.calls += 1
        if not due:
            return
        value = abs(float(loss.detach()))
        self.streak = self.streak + 1 if value < LEAST_LOSS else 0
        if self.streak == LOOKS:
            print_log(
                f"The contrastive loss is {value:.1e}, and was so {INTERVAL} iterations ago; it "
                "has no effect, since dot products of such long tokens saturate its softmax; "
                f"{self.remedy}",
                "current",
                logging.WARNING,
            )
