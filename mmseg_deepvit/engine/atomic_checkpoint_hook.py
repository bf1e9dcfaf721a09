"""Checkpoints that a kill cannot take away, and a clean stop when the scheduler asks for one.

mmengine's hook deletes the oldest file before it writes the newest, and writes it in place: killed
in between, a run that keeps one file has none.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import UserError
from .atomic_files import BACKEND, write_atomically
from .stop_vote import StopVote
from .worker_signals import shield_workers

#: Exit status of a run that was asked to stop and has saved: 128 + SIGTERM, as shells count.
STOPPED = 143


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, every file of which is whole or not there.

    A checkpoint and ``last_checkpoint`` are written beside, synced and renamed, and only then is an
    old one deleted. On SIGTERM the running iteration is finished, a checkpoint is saved, and the
    process exits with status 143. Arguments are those of mmengine's hook; files elsewhere than on
    local disks (``out_dir='s3://…'``, ``backend_args``) are left to their backends.
    """

    backend_args: dict | None
    file_backend: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked_to_stop = False
        self._vote = StopVote()
        self._due = False
        self._saved_step: int | None = None
        self._iteration: int | None = None
        shield_workers()
        remote = self.out_dir is not None and "://" in str(self.out_dir)
        if self.backend_args is None and self.file_client_args is None and not remote:
            self.backend_args = dict(backend=BACKEND)

    def before_train(self, runner: Runner) -> None:
        """Listen for SIGTERM."""
        super().before_train(runner)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask_to_stop)

    def after_train(self, runner: Runner) -> None:
        """Save the last one, if it is asked for, and listen no more."""
        super().after_train(runner)
        if hasattr(self, "_before"):
            signal.signal(signal.SIGTERM, self._before)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save when it is time, or when it is time to stop."""
        if not self.by_epoch:
            self._due |= self.every_n_train_iters(runner, self.interval, self.save_begin)
            self._due |= self.save_last and self.is_last_train_iter(runner)
        if _gradients_wait(runner):
            return
        if self._due:
            self._due = False
            runner.logger.info(f"Saving checkpoint at {runner.iter + 1} iterations")
            self._save_checkpoint(runner)
        if self._all_asked_to_stop():
            self._save_and_stop(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Save what validation was to measure, when it is time to stop."""
        loader = runner.val_dataloader
        # All processes ask each other; one with fewer batches than the others no longer would.
        common = len(loader.dataset) // get_world_size() // (loader.batch_size or 1)
        if runner.iter == 0 or _gradients_wait(runner) or batch_idx >= max(common, 1):
            return
        if self._all_asked_to_stop():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # which gives the model its own weights back
            self._save_and_stop(runner, runner.iter)

    def _save_and_stop(self, runner: Runner, step: int) -> None:
        """Save an iteration that is done, unless that has been, and leave."""
        if not self.by_epoch:  # else it would begin behind an epoch that has not ended
            self.last_ckpt = self._path(step)
            if self._saved_step != step:
                meta = dict(epoch=runner.epoch, iter=step)
                self._save_checkpoint_with_step(runner, step, meta=meta)
        runner.logger.info("Stopped by SIGTERM; --resume goes on from %s", self.last_ckpt)
        raise SystemExit(STOPPED)

    def _ask_to_stop(self, *signal_and_frame: Any) -> None:
        self._asked_to_stop = True

    def _all_asked_to_stop(self) -> bool:
        """Whether any process was asked: all must save and stop in the same iteration."""
        return self._vote(self._asked_to_stop)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, point to it, then delete what is one too many."""
        if _gradients_wait(runner):  # mmengine saves again after validation
            self._due = True
            return
        self._iteration = None if self.by_epoch else step
        outdated = self._note_step(runner, step)
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved_step = step
        self._iteration = None
        if is_main_process():
            write_atomically(Path(runner.work_dir) / "last_checkpoint", self.last_ckpt.encode())
            if outdated is not None:
                _remove(self.file_backend, self._path(outdated))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say which iteration it is: FlexibleRunner counts one more behind a validation."""
        if self._iteration is not None:
            checkpoint["meta"]["iter"] = self._iteration

    def _note_step(self, runner: Runner, step: int) -> int | None:
        """Add a step to those that are kept; returns the one that no longer is."""
        if self.max_keep_ckpts <= 0:
            return None
        kept = self.keep_ckpt_ids
        if kept and kept[-1] == step:
            return None
        outdated = kept.popleft() if len(kept) == self.max_keep_ckpts else None
        kept.append(step)
        runner.message_hub.update_info("keep_ckpt_ids", list(kept))
        return outdated

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As mmengine does, but that the best so far goes when the better one is there.

        Raises:
            UserError: ``save_best`` names what is not measured.
        """
        for name in getattr(self, "key_indicators", None) or ():  # not there without save_best
            if name != "auto" and name not in metrics:
                raise UserError(
                    f"default_hooks.checkpoint.save_best is {name!r}, which is not measured: give "
                    f"one of {', '.join(metrics) or 'none'}, or 'auto'"
                )
        backend, later = self.file_backend, _DeletesLater(self.file_backend)
        self.file_backend = later
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        for path in later.paths:
            if path not in self._best_paths():
                _remove(backend, path)

    def _best_paths(self) -> list[str]:
        return [self.best_ckpt_path, *getattr(self, "best_ckpt_path_dict", {}).values()]


class _DeletesLater:
    """A file backend that notes what it is told to delete."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self.paths.append(path)

    rmtree = remove


def _gradients_wait(runner: Runner) -> bool:
    """Whether gradients were accumulated that the optimiser has not used yet."""
    wrapper = runner.optim_wrapper
    return isinstance(wrapper, OptimWrapper) and not wrapper.should_update()


def _remove(backend: Any, path: str) -> None:
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):  # sharded checkpoints are folders
        backend.rmtree(path)
