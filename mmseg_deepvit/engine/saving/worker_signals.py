"""Workers that outlive a SIGTERM which a scheduler sends to all of a job's processes at once.

The training process answers it by saving; without its workers it would fail before that.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import cache


@cache
def shield_workers() -> None:
    """Have processes that are forked from now on heed the SIGTERM of their parent alone.

    Workers of dataloaders are forked. Where systems do not tell who sent a signal, nothing is done.
    """
    if hasattr(signal, "sigwaitinfo") and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_heed_parent_only)


def _heed_parent_only() -> None:
    # The signal is blocked, because the handler of PyTorch's workers ignores who sent it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
