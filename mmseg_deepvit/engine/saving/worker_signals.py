"""Keep dataloader workers alive when a scheduler sends SIGTERM to all processes of a job.

The training process answers by saving, and needs its workers until then.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import cache


@cache
def shield_workers() -> None:
    """Let workers, and all processes forked from now on, obey their parent's SIGTERM only.

    Nothing is done where the system does not tell the sender of a signal.
    """
    if hasattr(signal, "sigwaitinfo") and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_heed_parent_only)


def _heed_parent_only() -> None:
    # The signal is blocked, because the handler in PyTorch's workers does not ask for the sender.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
