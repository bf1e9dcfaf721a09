import time
import warnings

import numpy as np
import pytest

from mmseg_deepvit.evaluation import bootstrap
from mmseg_deepvit.evaluation.bootstrap import resampled_means, summarize, summarize_seeds


def scores_with_gaps(num_images=40, num_columns=3, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.random((num_images, num_columns)) * 100
    scores[generator.random(scores.shape) < 0.2] = np.nan
    return scores


@pytest.mark.parametrize("block", [1, 100, 2**19])
def test_means_are_numpys_of_the_same_draw(block, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", block)
    scores = scores_with_gaps()
    drawn = np.random.default_rng(7).integers(40, size=(200, 40))
    expected = np.stack([np.nanmean(scores[rows], axis=0) for rows in drawn])
    np.testing.assert_allclose(resampled_means(scores, 200, seed=7), expected, rtol=1e-12)


def test_a_summary_is_numpys():
    scores = scores_with_gaps()
    drawn = np.random.default_rng(3).integers(40, size=(500, 40))
    means = np.stack([np.nanmean(scores[rows], axis=0) for rows in drawn])
    summary = summarize(scores, 500, seed=3)
    np.testing.assert_allclose(summary.mean, np.nanmean(scores, axis=0), rtol=1e-12)
    np.testing.assert_allclose(summary.std, np.nanstd(scores, axis=0), rtol=1e-12)
    np.testing.assert_allclose(summary.low, np.percentile(means, 2.5, axis=0), rtol=1e-12)
    np.testing.assert_allclose(summary.high, np.percentile(means, 97.5, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(summary.count, (~np.isnan(scores)).sum(axis=0))


def test_std_and_mean_by_hand():
    summary = summarize(np.array([[50.0], [70.0], [90.0], [np.nan]]), 100, 0)
    assert summary.mean == 70
    assert summary.std == pytest.approx((800 / 3) ** 0.5)
    assert summary.count == 3


def test_intervals_hold_the_mean_and_narrow_with_the_root_of_the_images():
    widths = []
    for num_images in (100, 400, 1600):
        scores = np.random.default_rng(1).normal(80, 10, (num_images, 1))
        summary = summarize(scores, 1000, 0)
        assert summary.low < summary.mean < summary.high
        widths.append(float((summary.high - summary.low)[0]))
        # The normal interval of a mean: 1.96 standard deviations over √N to either side.
        assert widths[-1] == pytest.approx(2 * 1.96 * 10 / num_images**0.5, rel=0.2)
    assert widths[0] > 1.5 * widths[1] > 2.25 * widths[2]


def test_intervals_hold_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(2)
    scores = generator.normal(80, 10, (100, 600))  # 600 experiments of 100 images
    summary = summarize(scores, 500, 0)
    held = np.mean((summary.low < 80) & (summary.high > 80))
    assert 0.91 < held < 0.98


def test_equal_scores_have_no_width():
    summary = summarize(np.full((7, 1), 100 / 3), 100, 0)
    assert summary.low == summary.high == summary.mean
    assert summary.std == 0


def test_one_image_and_no_score_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = summarize(np.array([[42.0, np.nan]]), 10, 0)
        none = summarize(np.full((3, 1), np.nan), 10, 0)
        rare = summarize(np.array([[42.0]] + [[np.nan]] * 50), 100, 0)
    assert one.mean[0] == one.low[0] == one.high[0] == 42
    assert np.isnan([one.mean[1], one.std[1], one.low[1], one.high[1]]).all()
    assert one.count.tolist() == [1, 0]
    assert np.isnan([none.mean, none.low, none.high]).all()
    assert rare.low == rare.high == 42  # resamples without the image are left out


def test_the_seed_alone_decides():
    scores = scores_with_gaps()
    np.random.seed(0)
    first = resampled_means(scores, 50, seed=5)
    np.random.seed(1)
    np.testing.assert_array_equal(first, resampled_means(scores, 50, seed=5))
    assert not np.array_equal(first, resampled_means(scores, 50, seed=6))


def test_ten_thousand_images_take_a_moment():
    scores = np.random.default_rng(0).random((10_000, 7))
    start = time.perf_counter()
    summarize(scores, 1000, 0)
    assert time.perf_counter() - start < 5  # 0.2 s on an idle core


def test_one_seed_is_the_images_interval():
    scores = np.random.default_rng(0).normal(80, 10, (1, 200))
    interval = summarize_seeds(scores, num_resamples=4000)
    summary = summarize(scores.T, 4000, 1)
    assert interval.mean == pytest.approx(summary.mean[0])
    assert interval.low == pytest.approx(summary.low[0], abs=0.15)
    assert interval.high == pytest.approx(summary.high[0], abs=0.15)


def test_equal_scores_of_seeds_have_no_width():
    interval = summarize_seeds(np.full((3, 7), 61.5))
    assert (interval.mean, interval.low, interval.high) == (61.5, 61.5, 61.5)


def test_seeds_alone_make_the_interval_where_images_agree():
    """Three seeds of 1, 2, 3: of 27 draws one is all 1 and one all 3."""
    interval = summarize_seeds(np.repeat([[1.0], [2.0], [3.0]], 5, axis=1), num_resamples=5000)
    assert interval.low == pytest.approx(1.0, abs=1e-9)
    assert interval.high == pytest.approx(3.0, abs=1e-9)


def test_intervals_of_seeds_and_images_cover_the_truth():
    """Crossed effects of images, seeds and both: about 95 of 100 intervals hold the mean 50."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        seeds, images = generator.normal(0, 2, (12, 1)), generator.normal(0, 10, (1, 60))
        scores = 50 + seeds + images + generator.normal(0, 3, (12, 60))
        interval = summarize_seeds(scores, num_resamples=300)
        held += interval.low <= 50 <= interval.high
    assert 85 <= held <= 100
