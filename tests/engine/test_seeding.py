import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from mmseg_deepvit.engine.resuming import seeding
from mmseg_deepvit.engine.resuming.seeding import (
    Drawn,
    ResumableSampler,
    SeededDataset,
    seed_generators,
    unwrap_dataset,
)
from mmseg_deepvit.errors import UserError


class Numbers(Dataset):
    metainfo = dict(classes=("a",))

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(())])


def draw(start, count, seed=3, kind="InfiniteSampler"):
    sampler = ResumableSampler(dict(type=kind, shuffle=True), Numbers(), seed=seed)
    sampler.begin_at(start, seed)
    return list(islice(iter(sampler), count))


@pytest.mark.parametrize("kind", ["InfiniteSampler", "DefaultSampler"])
def test_no_samples_are_refused(kind):
    """mmengine's sampler would look for the first index for ever, deaf to SIGTERM."""
    with pytest.raises(UserError, match=r"finds no images: look at .* of train_dataloader"):
        ResumableSampler(dict(type=kind), [], seed=3)


@pytest.mark.parametrize("kind", ["InfiniteSampler", "DefaultSampler"])
def test_begins_anywhere(kind):
    whole = draw(0, 50, kind=kind)
    for start in (0, 1, 6, 7, 8, 30):
        assert draw(start, 20, kind=kind) == whole[start : start + 20]
    assert sorted(drawn.item for drawn in whole[:7]) == list(range(7))
    assert [drawn.item for drawn in whole[:7]] != [drawn.item for drawn in whole[7:14]]
    assert len({drawn.key for drawn in whole}) == 50


def test_the_order_is_mmengines():
    plain = InfiniteSampler(Numbers(), seed=3)
    assert [drawn.item for drawn in draw(0, 30)] == list(islice(iter(plain), 30))


def test_processes_share_a_stream(monkeypatch):
    whole = draw(0, 20)
    for rank in (0, 1):
        for module in (seeding, __import__("mmengine.dataset.sampler", fromlist=["x"])):
            monkeypatch.setattr(module, "get_dist_info", lambda rank=rank: (rank, 2))
        assert draw(3, 5) == whole[6 + rank : 16 : 2]


def test_the_seed_of_the_run_that_is_continued():
    sampler = ResumableSampler(dict(type="InfiniteSampler"), Numbers(), seed=8)
    assert list(sampler) == []  # nothing is prefetched before one knows where to begin
    sampler.begin_at(4, seed=3)
    assert list(islice(iter(sampler), 9)) == draw(4, 9, seed=3)
    fixed = ResumableSampler(dict(type="InfiniteSampler", seed=5), Numbers(), seed=8)
    fixed.begin_at(0, seed=3)
    plain = InfiniteSampler(Numbers(), seed=5)
    assert [drawn.item for drawn in islice(iter(fixed), 9)] == list(islice(iter(plain), 9))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_random_numbers_belong_to_the_place_in_the_order(workers):
    sampler = ResumableSampler(dict(type="InfiniteSampler"), Numbers(), seed=3)
    sampler.begin_at(2, 3)
    loader = DataLoader(SeededDataset(Numbers()), 2, sampler=sampler, num_workers=workers)
    loaded = torch.cat(list(islice(loader, 4)))
    dataset = SeededDataset(Numbers())
    assert torch.equal(loaded, torch.stack([dataset[drawn] for drawn in draw(2, 8)]))
    assert len(loaded[:, 1:].flatten().unique()) == 24


def test_keys_differ_in_all_generators():
    def numbers(*key):
        seed_generators(key)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert numbers(0, 0, 1) == numbers(0, 0, 1)
    drawn = [numbers(*key) for key in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 1, 1), (2**40, 0)]]
    assert all(len(set(of_one)) == 5 for of_one in zip(*drawn, strict=True))


def test_the_dataset_is_itself_in_all_else():
    inner = Numbers()
    dataset = SeededDataset(inner)
    assert (len(dataset), dataset.metainfo) == (7, inner.metainfo)
    assert unwrap_dataset(dataset) is unwrap_dataset(inner) is inner
    with pytest.raises(AttributeError):
        _ = dataset.full_init
    torch.manual_seed(5)
    plain = float(torch.rand(()))
    torch.manual_seed(5)
    assert float(dataset[1][3]) == plain  # a bare index seeds nothing
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[Drawn(1, (1, 2))], dataset[Drawn(1, (1, 2))])
