import numpy as np
import pytest
from scipy import ndimage

from mmseg_deepvit.inference.regions import RegionRules, holes, largest_region

#: Class 1: a ring around class 2 and a background pixel, and a pixel apart. Class 2: two pixels.
LABELS = np.array(
    [
        [1, 1, 1, 1, 0, 0, 0],
        [1, 0, 2, 1, 0, 0, 1],
        [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 2, 0],
    ]
)


@pytest.mark.parametrize(
    ("rules", "changed"),
    [
        (RegionRules(), {}),
        (RegionRules(keep_largest_region=True), {(1, 6): 0, (3, 5): 0}),
        (RegionRules(fill_holes=True), {(1, 1): 1}),
        (RegionRules(True, True), {(1, 6): 0, (3, 5): 0, (1, 1): 1}),
    ],
)
def test_each_class_but_the_background(rules, changed):
    """Other classes inside a region stay; of equal regions the first does."""
    given, expected = LABELS.copy(), LABELS.copy()
    for place, label in changed.items():
        expected[place] = label
    assert np.array_equal(rules.apply(given), expected)
    assert np.array_equal(given, LABELS)


def test_labels_without_foreground_stay():
    assert not RegionRules(True, True).apply(np.zeros((3, 4), np.uint8)).any()
    everything = np.ones((3, 4), np.uint8)
    assert np.array_equal(RegionRules(True, True).apply(everything), everything)


@pytest.mark.parametrize("seed", range(5))
def test_the_regions_of_scipy(seed):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 1.2) > 0.05
    assert np.array_equal(holes(mask), ndimage.binary_fill_holes(mask) & ~mask)
    numbers, _ = ndimage.label(mask, np.ones((3, 3)))
    largest = np.bincount(numbers.ravel())[1:].argmax() + 1
    assert np.array_equal(largest_region(mask), numbers == largest)


def test_settings():
    assert RegionRules.of(None) == RegionRules.of({}) == RegionRules()
    assert RegionRules.of(dict(fill_holes=True, mode="whole")) == RegionRules(False, True)
    with pytest.raises(ValueError, match=r"test_cfg\.fill_holes must be True or False, got 1"):
        RegionRules.of(dict(fill_holes=1))
