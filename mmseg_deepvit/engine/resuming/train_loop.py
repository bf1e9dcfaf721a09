"""A training loop that goes on, after an interruption, as if there had been none."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import LOOPS

from ..first_process import from_first_process
from .continuation import say_if_schedule_ends
from .newest_checkpoint import POINTER, find_whole_checkpoint
from .seeding import ResumableSampler, SeededDataset, seed_generators
from .work_dirs import checkpoint_folder, is_remote

#: The name in mmengine's message hub, which checkpoints hold, of the seed of all that is random.
SEED = "data_seed"
#: Of the iteration at which this run, or the part before, began; the images that all processes had
#: drawn before it; and the images that they draw in each iteration from there on.
DRAWN = "images_drawn"
#: Of the iteration whose validation is done, with all that follows from its scores.
VALIDATED = "validated_iteration"


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop`` with exact resume.

    mmengine's own goes on with other random numbers, and with another order of the data where the
    config sets no seed. Here both follow from the seed in the checkpoint: those of a sample from
    its place in the order, those of the model (drop path, PatchMix) from the iteration. Neither the
    number of workers, nor validation, nor a kill changes them, and resuming loads nothing twice.
    With another batch size, or number of processes, the data goes on behind the images that were
    drawn. A run that was stopped where it validates validates first, unless its checkpoint holds
    what followed from that: schedules that look at scores take each of them once.

    Args:
        runner: The runner.
        dataloader: Config of the training data; its sampler may be any of mmengine's.
        *args: As ``IterBasedTrainLoop``.
        **kwargs: As ``IterBasedTrainLoop``.

    Raises:
        TypeError: ``dataloader`` is no config, or has a batch sampler of its own.
        CheckpointError: The runner is to resume from its work dir, and nothing there is whole.
    """

    def __init__(
        self, runner: Any, dataloader: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        if not isinstance(dataloader, Mapping) or "batch_sampler" in dataloader:
            raise TypeError(
                "ResumableTrainLoop takes train_dataloader as a dict with a sampler and without a "
                "batch_sampler: set train_cfg.type=IterBasedTrainLoop to resume inexactly"
            )
        _choose_checkpoint(runner)
        resumable = dict(
            dataloader,
            dataset=dict(type=SeededDataset, dataset=dataloader["dataset"]),
            sampler=dict(type=ResumableSampler, sampler=dataloader["sampler"]),
        )
        super().__init__(runner, resumable, *args, **kwargs)

    def run(self) -> Any:
        """Train."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._begin()
        if self._iter > 0:
            say_if_schedule_ends(self.runner)
            if self.runner.message_hub.get_info(VALIDATED, 0) != self._iter:
                self._validate_if_due()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Train on a batch, with random numbers of this iteration."""
        self.seed_iteration()
        super().run_iter(data_batch)

    def seed_iteration(self) -> None:
        """Seed all generators as this iteration begins; those of each process differ."""
        seed_generators((self._sampler().seed, 1, self._iter, get_rank()))

    def _begin(self) -> None:
        """Begin the data where the last iteration ended, however large its batches were."""
        sampler, hub, world_size = self._sampler(), self.runner.message_hub, get_world_size()
        batch = self.dataloader.batch_size * world_size
        seed, drawn = sampler.seed, 0
        if self._iter > 0:
            seed = hub.get_info(SEED, seed)
            begun, drawn, before = hub.get_info(DRAWN, [0, 0, batch])
            drawn += (self._iter - begun) * before
            if before != batch:
                print_log(
                    f"the batch of all processes was {before} images and is {batch}: the data goes "
                    f"on behind the {drawn} images that were drawn, the learning rate as saved",
                    "current",
                    logging.WARNING,
                )
        hub.update_info(SEED, seed)
        hub.update_info(DRAWN, [self._iter, drawn, batch])
        sampler.begin_at(math.ceil(drawn / world_size), seed)
        self.dataloader_iterator = iter(self.dataloader)

    def _sampler(self) -> ResumableSampler:
        sampler: ResumableSampler = self.dataloader.sampler
        return sampler

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        last = self._iter == self._max_iters
        due = self._iter >= self.val_begin and (self._iter % self.val_interval == 0 or last)
        if due and self.runner.val_loop is not None:
            self.runner.val_loop.run()


def _choose_checkpoint(runner: Any) -> None:
    """Have a runner that is to resume by itself take the newest whole checkpoint of its folder.

    mmengine's would follow ``last_checkpoint``, out of a copied work dir too.
    """
    if runner._resume is not True or runner._load_from is not None:
        return
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    out_dir = hooks[0].out_dir if hooks else None
    if not is_remote(out_dir):
        work_dir = runner.work_dir
        folder = checkpoint_folder(work_dir, out_dir)
        runner._load_from = from_first_process(lambda: find_whole_checkpoint(work_dir, folder))
        runner._resume = runner._load_from is not None or not Path(work_dir, POINTER).exists()
