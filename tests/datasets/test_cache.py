import copy
import multiprocessing
import pickle

import mmcv.transforms
import mmseg.datasets.transforms
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmseg_deepvit.datasets.cache import SharedCache
from mmseg_deepvit.datasets.pipeline import CachedTransforms
from mmseg_deepvit.errors import UserError

from ..conftest import ROOT
from .published import LOADING, build, isic_image, isic_mask, write_isic

RESIZE = {"type": "Resize", "scale": (24, 24), "keep_ratio": False}
PACK = {"type": "PackSegInputs"}


@pytest.fixture
def root(tmp_path):
    return write_isic(tmp_path)


def cached(root, *transforms, **arguments):
    arguments = {"part": "Training", "cache_images": True, **arguments}
    return build("ISIC2018Dataset", root, pipeline=[*LOADING, *transforms], **arguments)


def remove_files(root):
    for i in range(6):
        isic_image(root, f"ISIC_{i:07d}").unlink()
        isic_mask(root, f"ISIC_{i:07d}").unlink()


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert np.array_equal(value, other[key]), key


@pytest.mark.parametrize("transforms", [[], [RESIZE], [{"type": "RandomFlip", "prob": 1.0}]])
def test_the_same_comes_from_memory(root, transforms):
    plain = cached(root, *transforms, cache_images=False)
    expected = [plain[i] for i in range(6)]
    dataset = cached(root, *transforms)
    first = [dataset[i] for i in range(6)]
    remove_files(root)
    for i in range(6):
        assert_same(first[i], expected[i])
        assert_same(dataset[i], expected[i])


def test_the_head_ends_at_the_first_random_transform(root):
    transforms = cached(root, RESIZE, {"type": "RandomFlip", "prob": 0.5}, PACK).pipeline.transforms
    assert isinstance(transforms[0], CachedTransforms)
    assert [type(t).__name__ for t in transforms[1:]] == ["RandomFlip", "PackSegInputs"]


def test_a_config_without_safe_loading_is_cached_too(root):
    """Such a config loads by the transforms of mmcv and mmseg."""
    theirs = [
        {"type": mmcv.transforms.LoadImageFromFile},
        {"type": mmseg.datasets.transforms.LoadAnnotations},
    ]
    settings = {"part": "Training", "cache_images": True}
    dataset = build("ISIC2018Dataset", root, pipeline=[*theirs, RESIZE], **settings)
    expected = dataset[2]
    remove_files(root)
    assert_same(dataset[2], expected)
    assert expected["gt_seg_map"].any()


def test_changes_in_place_do_not_reach_the_cache(root):
    dataset = cached(root)
    for _ in range(3):
        sample = dataset[2]
        assert sample["img"].any()
        assert sample["gt_seg_map"].any()
        assert sample["seg_fields"] == ["gt_seg_map"]
        sample["img"][:] = 0
        sample["gt_seg_map"][:] = 0
        sample["seg_fields"].append("another")


def test_pairs_that_do_not_fit_are_read_every_time(root):
    one = len(pickle.dumps(cached(root, cache_images=False)[0], protocol=5))
    dataset = cached(root, cache_limit=int(2.5 * one))
    expected = [dataset[i] for i in range(6)]
    for i in range(6):
        assert_same(dataset[i], expected[i])
    remove_files(root)
    for i in range(2):
        assert_same(dataset[i], expected[i])
    with pytest.raises(UserError, match="does not exist"):
        dataset[2]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_workers_fill_one_cache(root):
    dataset = cached(root, PACK)
    loader = DataLoader(
        dataset, 2, num_workers=2, collate_fn=pseudo_collate, multiprocessing_context="fork"
    )
    expected = [image for batch in loader for image in batch["inputs"]]
    remove_files(root)
    # The first worker made the first and third batch; now it gets the second.
    again = [dataset[i]["inputs"] for i in range(6)]
    loader = DataLoader(
        dataset, 3, num_workers=2, collate_fn=pseudo_collate, multiprocessing_context="fork"
    )
    other = [image for batch in loader for image in batch["inputs"]]
    for i in range(6):
        assert expected[i].equal(again[i])
        assert expected[i].equal(other[i])


def test_parts_share_it_and_keep_their_own_numbers(root):
    dataset = cached(root)
    dataset[4]
    remove_files(root)
    part = dataset.get_subset([4])
    assert part[0]["sample_idx"] == 0
    assert_same({**part[0], "sample_idx": 4}, dataset[4])


def test_copies_and_pickles():
    cache = SharedCache(["a", "b"], 1000)
    cache.put("a", [1, 2])
    assert copy.deepcopy(cache).get("a") == [1, 2]
    with pytest.raises(KeyError):
        cache.get("c")
    spawned = pickle.loads(pickle.dumps(cache))
    assert spawned.get("a") is None
    spawned.put("b", "x")
    assert spawned.get("b") == "x"
    assert cache.get("b") is None


def test_more_than_the_system_gives():
    with pytest.raises(ValueError, match=r"the system has no .*; set a smaller"):
        SharedCache(["a"], 2**62)


def test_a_full_cache_is_told_once(monkeypatch):
    told = []
    monkeypatch.setattr(
        "mmseg_deepvit.datasets.cache.print_log", lambda text, **_: told.append(text)
    )
    cache = SharedCache("abc", 100)
    cache.put("a", "x" * 50)
    assert told == []
    cache.put("b", "x" * 50)
    cache.put("c", "x" * 50)
    assert len(told) == 1
    assert "cache_limit=100 bytes does not hold all" in told[0]


def test_every_value_is_put_once():
    cache = SharedCache(["a"], 1000)
    cache.put("a", 1)
    cache.put("a", 2)
    assert cache.get("a") == 1


def test_real_images_from_memory():
    root = ROOT / "data" / "isic2018"
    if not root.is_dir():
        pytest.skip("no ISIC 2018 images in data/isic2018")
    plain, kept = (cached(root, part="Validation", cache_images=on) for on in (False, True))
    for _ in range(2):
        for i in (0, 7, 399):
            assert_same(kept[i], plain[i])
