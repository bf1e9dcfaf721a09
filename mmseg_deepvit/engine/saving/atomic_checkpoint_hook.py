"""Checkpoints that survive a kill, and a clean stop when the scheduler asks for one.

mmengine's hook deletes the oldest file before it writes the newest, and writes it in place. A kill
in between leaves a run that keeps one file without any.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner, find_latest_checkpoint
from mmseg.registry import HOOKS

from ...errors import UserError
from ..first_process import from_first_process
from ..resuming.continuation import check_same_parameters
from ..resuming.newest_checkpoint import POINTER
from ..resuming.train_loop import VALIDATED
from ..resuming.work_dirs import check_unused, checkpoint_folder, claim, is_remote, release
from .atomic_files import BACKEND, write_atomically
from .stop_vote import StopVote
from .worker_signals import shield_workers

#: Exit status of a run that has saved and stopped on request: 128 + SIGTERM, as shells count.
STOPPED = 143


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook with files that are complete or not there.

    A checkpoint and ``last_checkpoint`` are written under other names, synced and renamed. Only
    then an old one is deleted. On SIGTERM the hook finishes the iteration, saves a checkpoint, and
    exits with status 143.

    The hook deletes only files that this run wrote. It refuses a folder where another run trains,
    and refuses a new run where another one's checkpoints are. Checkpoints name files without their
    folder, and the names count only for a run that resumes from that folder. So a copied work dir
    is a separate run, and no checkpoint can have other files removed. ``last_checkpoint`` holds a
    full path, as mmengine's readers need it.

    Arguments are those of mmengine's hook. Remote files (``out_dir='s3://…'``, ``backend_args``)
    are left to their backends.
    """

    out_dir: Any
    backend_args: dict[str, Any] | None
    file_backend: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked_to_stop = False
        self._vote = StopVote()
        self._due = False
        self._saved_step: int | None = None
        self._iteration: int | None = None
        self._claimed: set[str] = set()
        self._remote = is_remote(self.out_dir)
        shield_workers()
        if self.backend_args is None and self.file_client_args is None and not self._remote:
            self.backend_args = dict(backend=BACKEND)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume another model."""
        if runner._resume:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            optimizer = getattr(runner.optim_wrapper, "optimizer", None)
            check_same_parameters(model, optimizer, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Claim the folder, read which files are this run's, and listen for SIGTERM.

        Raises:
            UserError: Another run trains there, or has left its checkpoints.
        """
        folder = checkpoint_folder(runner.work_dir, self.out_dir)
        source = _resumed_from(runner)
        goes_on = source is not None and _folder(source) == os.path.realpath(folder)
        # A run with --resume begins too if it was killed before its first checkpoint.
        begins = source is not None or (runner.iter == 0 and not runner._resume)
        self._claimed = {runner.work_dir} if self._remote else {runner.work_dir, folder}

        def take() -> None:
            for path in sorted(self._claimed):
                claim(path)
            if begins and not (goes_on or self._remote):
                check_unused(folder)

        from_first_process(take)
        self._read_names(runner.message_hub.runtime_info, folder if goes_on else None)
        super().before_train(runner)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask_to_stop)

    def after_train(self, runner: Runner) -> None:
        """Save the last checkpoint, if asked for, and stop listening."""
        super().after_train(runner)
        if hasattr(self, "_before"):
            signal.signal(signal.SIGTERM, self._before)

    def after_run(self, runner: Runner) -> None:
        """Release the folder."""
        if is_main_process():
            for path in self._claimed:
                release(path)

    def _read_names(self, info: dict[str, Any], folder: str | None) -> None:
        """Turn a checkpoint's names of files into paths, and drop those of other runs.

        Args:
            info: Entries of the message hub, changed in place.
            folder: This run's folder if the checkpoint is in it, else None.
        """
        number = re.sub(r"\\\{.*?\\\}", r"\\d+", re.escape(self.filename_tmpl))
        for key in _path_keys(info):
            name = os.path.basename(str(info.pop(key)))
            begin = "" if key == "last_ckpt" else "best_.+_"
            if folder and re.fullmatch(begin + number, name):
                info[key] = os.path.join(folder, name)
        steps = info.pop("keep_ckpt_ids", None)
        if folder and isinstance(steps, list):
            ours = [step for step in steps if type(step) is int and step >= 0]
            paths = {step: os.path.join(folder, self.filename_tmpl.format(step)) for step in ours}
            # mmengine deletes surplus checkpoints, and must not follow links, which no run makes.
            info["keep_ckpt_ids"] = [step for step in ours if not os.path.islink(paths[step])]

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save if a checkpoint is due, and stop if a process was asked to."""
        if not self.by_epoch:
            self._due |= self.every_n_train_iters(runner, self.interval, self.save_begin)
            self._due |= self.save_last and self.is_last_train_iter(runner)
        if _gradients_wait(runner):
            return
        if self._due:
            self._due = False
            runner.logger.info(f"Saving checkpoint at {runner.iter + 1} iterations")
            self._save_checkpoint(runner)
        # If any process was asked, all must save and stop in the same iteration.
        if self._vote(self._asked_to_stop):
            self._save_and_stop(runner, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Stop within a validation too, after saving the iteration that it measures."""
        loader = runner.val_dataloader
        # All processes vote together, so they vote only in batches that every process has.
        common = len(loader.dataset) // get_world_size() // (loader.batch_size or 1)
        if runner.iter == 0 or _gradients_wait(runner) or batch_idx >= max(common, 1):
            return
        if self._vote(self._asked_to_stop):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # gives the model its weights back
            self._save_and_stop(runner, runner.iter)

    def _save_and_stop(self, runner: Runner, step: int) -> None:
        """Save a finished iteration, unless it is saved already, and exit."""
        if not self.by_epoch:  # else the run would resume after an epoch that has not ended
            self.last_ckpt = self._path(step)
            if self._saved_step != step:
                meta = dict(epoch=runner.epoch, iter=step)
                self._save_checkpoint_with_step(runner, step, meta=meta)
        runner.logger.info("Stopped by SIGTERM; --resume goes on from %s", self.last_ckpt)
        raise SystemExit(STOPPED)

    def _ask_to_stop(self, *signal_and_frame: Any) -> None:
        self._asked_to_stop = True

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Save a checkpoint, write its path to the pointer, then delete the surplus one."""
        if _gradients_wait(runner):  # mmengine also saves after validation
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
            write_atomically(Path(runner.work_dir) / POINTER, self.last_ckpt.encode())
            if outdated is not None:
                self._remove(self._path(outdated))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Name files without their folder, and correct the iteration.

        FlexibleRunner counts one more after a validation.
        """
        if self._iteration is not None:
            checkpoint["meta"]["iter"] = self._iteration
        info = checkpoint["message_hub"]["runtime_info"]
        for key in _path_keys(info):
            info[key] = os.path.basename(str(info[key]))

    def _note_step(self, runner: Runner, step: int) -> int | None:
        """Note a step to keep; returns the step that is no longer kept, or None."""
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
        return str(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Save as mmengine does, but delete the old best only when the new one is there.

        Raises:
            UserError: No metric measures a score of ``save_best``.
        """
        for name in getattr(self, "key_indicators", None) or ():  # missing without save_best
            if name != "auto" and name not in metrics:
                raise UserError(
                    f"default_hooks.checkpoint.save_best is {name!r}, which is not measured: give "
                    f"one of {', '.join(metrics) or 'none'}, or 'auto'"
                )
        runner.message_hub.update_info(VALIDATED, runner.iter)
        if not self.save_best:
            return
        several = len(self.key_indicators) > 1
        best: dict[str, Any] = self.best_ckpt_path_dict if several else self.__dict__
        before = {k: best[k] for k in (list(best) if several else ["best_ckpt_path"])}
        best.update(dict.fromkeys(before))  # mmengine would delete the old one first
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            best.update({k: v for k, v in before.items() if best[k] is None})
        if is_main_process():
            for path in {*before.values()} - {best[k] for k in before} - {None}:
                self._remove(path)

    def _remove(self, path: str) -> None:
        """Delete a checkpoint of this run, a file or a folder, but no link."""
        if self._remote or not os.path.islink(path):
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)


def _resumed_from(runner: Runner) -> str | None:
    """The checkpoint that a runner was told to resume from, or has found."""
    resume: Any = runner._resume
    if isinstance(resume, str) or not resume:  # a path with FlexibleRunner
        return resume or None
    found: str | None = runner._load_from or find_latest_checkpoint(runner.work_dir)
    return found


def _folder(path: str) -> str:
    return os.path.realpath(os.path.dirname(os.path.expanduser(path).rstrip("/")))


def _path_keys(info: Iterable[str]) -> list[str]:
    """Keys under which mmengine's hook keeps paths in the message hub."""
    return [k for k in info if k in ("last_ckpt", "best_ckpt") or k.startswith("best_ckpt_")]


def _gradients_wait(runner: Runner) -> bool:
    """Whether an optimiser has yet to use accumulated gradients."""
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        return not all(one.should_update() for one in wrapper.values())
    return isinstance(wrapper, OptimWrapper) and not wrapper.should_update()
