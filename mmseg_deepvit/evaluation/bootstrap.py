"""Means over images, their spread, and their confidence intervals.

Paper: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13 (percentile intervals),
https://doi.org/10.1201/9780429246593.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Share of resampled means inside an interval, in percent.
CONFIDENCE = 95
#: Number of values drawn at a time, few enough for a processor's cache.
_BLOCK = 2**19


@dataclass(frozen=True)
class Summary:
    """Statistics of K columns of scores, (K,) each; nan for a column without a score.

    Attributes:
        mean: Mean of the scores.
        std: Standard deviation of the scores (as ``numpy.std``, not that of the mean).
        low: Lower end of the mean's 95 % bootstrap interval.
        high: Upper end of that interval.
        count: Number of scores.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: NDArray[np.int64]


def summarize(scores: NDArray[np.float64], num_resamples: int, seed: int) -> Summary:
    """Compute statistics over images.

    Args:
        scores: Scores, (N images, K); nan where there is none.
        num_resamples: Number of draws of N images, with replacement, for the interval.
        seed: Seed of the draws.
    """
    mean = nan_mean(scores, axis=0)
    std = np.sqrt(nan_mean((scores - mean) ** 2, axis=0))
    # Resampled differences from the mean give equal scores an interval of width exactly 0.
    shifts = resampled_means(scores - mean, num_resamples, seed)
    low, high = np.full((2, scores.shape[1]), np.nan)
    some = ~np.isnan(mean)  # nanpercentile warns of columns without a score
    tail = (100 - CONFIDENCE) / 2
    if some.any():
        low[some], high[some] = np.nanpercentile(shifts[:, some], [tail, 100 - tail], axis=0)
    return Summary(mean, std, mean + low, mean + high, np.count_nonzero(~np.isnan(scores), axis=0))


def resampled_means(
    scores: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Average images drawn with replacement; all columns share the drawn images.

    Row r is ``numpy.nanmean(scores[drawn[r]], axis=0)`` with
    ``drawn = numpy.random.default_rng(seed).integers(N, size=(num_resamples, N))``.

    Args:
        scores: Scores, (N, K); nan where there is none.
        num_resamples: Number of draws, R.
        seed: Seed of the draws, 0 or more.

    Returns:
        (R, K); nan where no drawn image has a score.
    """
    generator = np.random.default_rng(seed)
    num_images, num_columns = scores.shape
    there = ~np.isnan(scores)
    # The number of draws of an image is its weight: sums over drawn images become one product.
    values = np.concatenate([np.where(there, scores, 0), there], axis=1)
    means = np.empty((num_resamples, num_columns))
    step = max(_BLOCK // num_images, 1)
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        drawn = generator.integers(num_images, size=(rows, num_images))
        drawn += num_images * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * num_images)
        sums = weights.reshape(rows, num_images).astype(np.float64) @ values
        means[start : start + rows] = _divide(sums[:, :num_columns], sums[:, num_columns:])
    return means


def nan_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """``numpy.nanmean`` without its warning where there is nothing to average."""
    there = ~np.isnan(values)
    return _divide(np.where(there, values, 0).sum(axis), there.sum(axis))


def _divide(sums: NDArray[np.float64], counts: NDArray[np.number]) -> NDArray[np.float64]:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def summarize_seeds(
    values: NDArray[np.float64],
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda means: means,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute a score's mean over seeds, with an interval for seeds and images.

    A resample draws seeds and images, each with replacement. The design is crossed: every seed was
    tested on every image. With one seed, images alone vary. With few seeds the interval is rather
    too narrow than too wide.

    Args:
        values: What each image adds to the score of each seed, without nan, (S seeds, N images) or
            (S, N, ...).
        score: Function from each seed's mean over images, (S,) or (S, ...), to its score, (S,). The
            mean itself is the score of values that are scores of images, or their differences.
        num_resamples: Number of draws.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    num_seeds, num_images = values.shape[:2]
    scores = np.empty(num_resamples)
    for r in range(num_resamples):
        seeds = generator.integers(num_seeds, size=num_seeds)
        images = generator.integers(num_images, size=num_images)
        scores[r] = score(values[:, images].mean(1))[seeds].mean()
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(scores, [tail, 100 - tail])
    return Interval(float(score(values.mean(1)).mean()), float(low), float(high))
