"""Data whose order and random numbers follow from a seed and a position alone.

So a run can resume anywhere, without replaying data and without saved states of generators.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import Dataset, Sampler

from ...errors import UserError


class Drawn(NamedTuple):
    """A drawn sample and the key of its random numbers.

    Attributes:
        item: Index of the sample in its dataset.
        key: Key for :func:`seed_generators` before the sample is loaded.
    """

    item: int
    key: tuple[int, ...]


def seed_generators(key: Sequence[int]) -> None:
    """Seed Python's, NumPy's and torch's generators of this process.

    Args:
        key: Integers of at least 0. Different keys of one length give unrelated random numbers.
    """
    words = np.random.SeedSequence(tuple(key)).generate_state(4)
    low, high = int(words[0]), int(words[1])
    random.seed(high << 32 | low)
    np.random.seed(words)
    torch.default_generator.manual_seed(low << 32 | high)
    # torch.manual_seed would keep a traceback at each call while CUDA is not initialised.
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(low << 32 | high)


class ResumableSampler(Sampler[Drawn]):
    """Another sampler's indices, endless and from any position on, each with a key.

    Args:
        sampler: Config of a sampler whose order follows from its seed and epoch, as mmengine's.
        dataset: Dataset of the indices.
        seed: Seed of order and keys, the same in all processes; None draws one.

    Raises:
        UserError: The dataset is empty.
    """

    def __init__(
        self, sampler: dict[str, Any], dataset: Dataset[Any], seed: int | None = None
    ) -> None:
        if len(dataset) == 0:  # type: ignore[arg-type]
            raise UserError(
                "the training set finds no images: look at data_root, data_prefix, ann_file and "
                "img_suffix of train_dataloader.dataset"
            )
        self.seed = sync_random_seed() if seed is None else seed
        arguments = dict(dataset=dataset, seed=self.seed)
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=arguments)
        self.start: int | None = None

    def begin_at(self, start: int, seed: int) -> None:
        """Set the beginning of the next iteration; before this call there is nothing to iterate.

        OpenMMLab's mmengine starts workers before it knows whether it resumes.

        Args:
            start: Number of this process's samples to skip.
            seed: Seed of the resumed run, or of this one.
        """
        if getattr(self.sampler, "seed", None) == self.seed:  # else the config sets another
            self.sampler.seed = seed
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[Drawn]:
        """Draw samples without end."""
        if self.start is None:
            return
        rank, world_size = get_dist_info()
        for position, index in enumerate(islice(self._indices(), self.start, None), self.start):
            yield Drawn(index, (self.seed, 0, position * world_size + rank))

    def _indices(self) -> Iterator[int]:
        for epoch in count():
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)
            yield from self.sampler

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self.sampler)


class SeededDataset(Dataset[Any]):
    """A dataset that seeds the generators before it loads a :class:`Drawn` sample.

    So transforms draw the same numbers in every worker. All other attributes are the dataset's.

    Args:
        dataset: Dataset or its config.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __getitem__(self, drawn: Drawn | int) -> Any:
        """Load a sample; a bare index seeds nothing."""
        if isinstance(drawn, Drawn):
            seed_generators(drawn.key)
            return self.dataset[drawn.item]
        return self.dataset[drawn]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        """The dataset's attributes, but no special ones, or loaders would bypass this class."""
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def unwrap_dataset(dataset: Any) -> Any:
    """The dataset inside a :class:`SeededDataset`, or the given dataset."""
    return dataset.dataset if isinstance(dataset, SeededDataset) else dataset
