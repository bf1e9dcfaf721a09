import numpy as np
import pytest

from mmseg_deepvit.datasets.subsets import RandomPart
from mmseg_deepvit.errors import UserError
from mmseg_deepvit.own_data.band_statistics import BandStatistics
from mmseg_deepvit.own_data.plan import (
    choose_schedule,
    choose_seed,
    choose_sizes,
    class_weights,
)
from mmseg_deepvit.own_data.survey import Survey


def survey(*sizes):
    found = Survey()
    found.sizes.update(sizes)
    return found


@pytest.mark.parametrize(
    ("sizes", "patch", "device", "crop", "scale", "whole"),
    [
        ([(360, 480)] * 3, 16, "cpu", 352, (480, 360), False),
        ([(360, 480)] * 3, 14, "cuda", 350, (480, 360), False),
        ([(256, 256)] * 3, 8, "cpu", 256, (256, 256), True),
        ([(250, 250)] * 3, 16, "cpu", 240, (250, 250), False),
        ([(3000, 4000)] * 3, 16, "cuda", 512, (1365, 1024), False),
        ([(40, 90), (200, 300), (220, 310)], 16, "cpu", 32, (96, 64), False),
    ],
)
def test_sizes(sizes, patch, device, crop, scale, whole):
    found = choose_sizes(survey(*sizes), patch, device)
    assert (found.crop, found.scale, found.is_whole) == (crop, scale, whole)


def test_crops_that_do_not_fit():
    with pytest.raises(UserError, match="shorter side of the images is 15 pixels"):
        choose_sizes(survey((15, 99)), 8, "cpu")
    with pytest.raises(UserError, match="--crop must be a multiple of 14"):
        choose_sizes(survey((99, 99)), 14, "cpu", 64)


@pytest.mark.parametrize(
    ("images", "pretrained", "batch", "iterations"),
    [(2, True, 2, 1000), (367, True, 8, 1800), (367, False, 8, 3700), (10**6, True, 8, 20000)],
)
def test_schedules(images, pretrained, batch, iterations):
    found = choose_schedule(images, 192, pretrained)
    assert (found.batch_size, found.max_iters) == (batch, iterations)
    assert found.lr == (3e-4 if pretrained and iterations > 2000 else 1e-3)
    assert choose_schedule(images, 192, pretrained, max_iters=3).val_interval == 1


def test_rare_classes_weigh_more():
    assert class_weights([0.5, 0.49, 0.01]) is None
    shares = np.array([0.9, 0.091, 0.009])
    weights = np.array(class_weights(shares))
    np.testing.assert_allclose(weights / weights[0], (shares / 0.9) ** -0.5, rtol=0.01)
    assert (weights * shares).sum() == pytest.approx(1, abs=0.01)
    assert max(class_weights([0.999999, 0.000001])) == 10
    assert class_weights([0.995, 0.005, 0.0])[2] == class_weights([0.995, 0.005, 0.0])[1]


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_a_seed_gives_both_parts_their_number(count):
    names = [f"scan {i}" for i in range(count)]
    seed = choose_seed(names, 0.2)
    assert len(RandomPart("val", 0.2, seed).choose(names)) == max(1, round(0.2 * count))


def test_statistics_of_bands():
    rng = np.random.default_rng(0)
    images = [rng.normal(900, 70, (20 + i, 30, 2)) for i in range(3)]
    found = BandStatistics()
    for image in images:
        found.add(image)
    together = np.concatenate([image.reshape(-1, 2) for image in images])
    np.testing.assert_allclose(found.mean, together.mean(axis=0))
    np.testing.assert_allclose(found.std, together.std(axis=0))
    assert (found.low > together.min(axis=0)).all()
    assert (found.high < together.max(axis=0)).all()


def test_grey_beside_rgb_counts_as_rgb():
    grey, rgb = np.full((4, 4, 1), 10), np.tile([[[20, 30, 40]]], (4, 4, 1))
    for images in ([grey, rgb], [rgb, grey]):
        found = BandStatistics()
        for image in images:
            found.add(image)
        assert found.mean.tolist() == [15, 20, 25]
