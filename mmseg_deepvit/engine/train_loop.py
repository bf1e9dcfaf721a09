"""A training loop that goes on, after an interruption, as if there had been none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_rank
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import LOOPS

from .seeding import ResumableSampler, SeededDataset, seed_generators

#: The name in mmengine's message hub, which checkpoints hold, of the seed of all that is random.
SEED = "data_seed"


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop`` with exact resume.

    mmengine's own goes on with other random numbers, and with another order of the data where the
    config sets no seed. Here both follow from the seed in the checkpoint: those of a sample from
    its place in the order, those of the model (drop path, PatchMix) from the iteration. Neither the
    number of workers, nor validation, nor a kill changes them, and resuming loads nothing twice. A
    run that was stopped where it validates validates first, lest the best checkpoint be missed.

    Args:
        runner: The runner.
        dataloader: Config of the training data; its sampler may be any of mmengine's.
        *args: As ``IterBasedTrainLoop``.
        **kwargs: As ``IterBasedTrainLoop``.

    Raises:
        TypeError: ``dataloader`` is no config, or has a batch sampler of its own.
    """

    def __init__(self, runner: Any, dataloader: Mapping, *args: Any, **kwargs: Any) -> None:
        if not isinstance(dataloader, Mapping) or "batch_sampler" in dataloader:
            raise TypeError(
                "ResumableTrainLoop takes train_dataloader as a dict with a sampler and without a "
                "batch_sampler: set train_cfg.type=IterBasedTrainLoop to resume inexactly"
            )
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
        """Begin the data where the last iteration ended."""
        sampler, hub = self._sampler(), self.runner.message_hub
        seed = hub.get_info(SEED, sampler.seed) if self._iter > 0 else sampler.seed
        hub.update_info(SEED, seed)
        sampler.begin_at(self._iter * self.dataloader.batch_size, seed)
        self.dataloader_iterator = iter(self.dataloader)

    def _sampler(self) -> ResumableSampler:
        return self.dataloader.sampler

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        last = self._iter == self._max_iters
        due = self._iter >= self.val_begin and (self._iter % self.val_interval == 0 or last)
        if due and self.runner.val_loop is not None:
            self.runner.val_loop.run()
