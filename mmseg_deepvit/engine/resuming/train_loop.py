"""A training loop that resumes exactly."""

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

# Names in mmengine's message hub, which checkpoints hold.
#: Seed of all random numbers.
SEED = "data_seed"
#: Three numbers: the iteration at which this part of the run began, the images drawn before it,
#: and the images drawn in each iteration since.
DRAWN = "images_drawn"
#: Last iteration whose validation is complete.
# mmengine logs what begins with "val" among the scores of a validation.
VALIDATED = "last_validation"


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop`` with exact resume.

    mmengine's loop resumes with other random numbers, and without a seed in another order of data.
    Here both follow from the seed in the checkpoint: a sample's numbers from its place in the
    order, the model's from the iteration. Workers, validation and kills do
    not change them, and no sample is loaded twice. With another batch size or number of processes,
    the data goes on after the images already drawn. A run that was stopped in a validation repeats
    it first; a finished validation is not repeated, so that schedules see each score once.

    Args:
        runner: Runner of the training.
        dataloader: Config of the training data, with any sampler of mmengine's.
        *args: Arguments of ``IterBasedTrainLoop``.
        **kwargs: Arguments of ``IterBasedTrainLoop``.

    Raises:
        TypeError: ``dataloader`` is no config, or has a batch sampler.
        CheckpointError: The runner resumes from its work dir, and all checkpoints are damaged.
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
        """Train on a batch, with this iteration's random numbers."""
        self.seed_iteration()
        super().run_iter(data_batch)

    def seed_iteration(self) -> None:
        """Seed all generators for this iteration, differently in each process."""
        seed_generators((self._sampler().seed, 1, self._iter, get_rank()))

    def _begin(self) -> None:
        """Begin the data after the last drawn image, whatever the batch size was."""
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
                    f"on after the {drawn} images that were drawn, the learning rate as saved",
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
    """Choose the newest undamaged checkpoint for a runner that resumes from its work dir.

    mmengine would follow the path in ``last_checkpoint``, which leads out of a copied work dir.
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
