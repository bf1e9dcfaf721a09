"""Scores of each image, averaged over images.

Paper: https://arxiv.org/abs/2310.19252, on averaging by image and not by pixel; for the scores see
:mod:`~mmseg_deepvit.evaluation.overlap`, :mod:`~mmseg_deepvit.evaluation.hausdorff` and
:mod:`~mmseg_deepvit.evaluation.bootstrap`.
Deviations: none.

mmseg's ``IoUMetric`` adds up the pixels of all images before it divides, so large objects decide.
Medical challenges score each image and average the scores, as this metric does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmseg.registry import METRICS
from numpy.typing import NDArray

from ..errors import UserError
from .bootstrap import nan_mean, summarize
from .hausdorff import hausdorff95
from .overlap import OVERLAP_SCORES, class_counts, overlap_scores
from .report import format_table, write_csv
from .scored_pixels import class_names, read_sample

_SCORES = (*OVERLAP_SCORES, "HD95")
#: Endings of results: mean, standard deviation, and ends of the interval.
_STATISTICS = ("", "_std", "_low", "_high")


@dataclass(frozen=True)
class _ImageResult:
    """Measures of an image, for K scored classes.

    Attributes:
        path: Path of the image.
        counts: TP, FP, FN and TN in pixels, (K, 4).
        hd95: Distances, (K,); 0 for a class that is nowhere, or if HD95 is not scored.
    """

    path: str
    counts: NDArray[np.int64]
    hd95: NDArray[np.float64]


@METRICS.register_module()
class PerImageMetric(BaseMetric):
    """Dice, Jaccard and other scores of each class in each image, averaged over images.

    Results are named ``per_image/Dice``, ``per_image/Dice_std``, ``per_image/Dice_low`` and
    ``per_image/Dice_high`` (and so on): mean, standard deviation, and ends of the mean's 95 %
    bootstrap interval, over images. If several classes are scored, an image's score is the mean
    over its classes; a table in the log has each class. All scores are in percent but HD95, a
    distance in pixels. ``CheckpointHook`` cannot guess from these names which score is better:
    ``save_best='per_image/Dice'`` needs ``rule='greater'``, HD95 needs ``'less'``.

    An undefined score is nan: means leave it out, and the table counts fewer images. Formulas, and
    values for classes missing in the prediction, the truth or both, are in
    :func:`~mmseg_deepvit.evaluation.overlap.overlap_scores` and
    :func:`~mmseg_deepvit.evaluation.hausdorff.hausdorff95`.

    Ignored pixels belong to no class, neither in the prediction nor in the truth: a region has a
    boundary where ignored pixels begin.

    Args:
        metrics: Names from Dice, Jaccard, TJaccard (Jaccard index, 0 below ``threshold``),
            Sensitivity, Specificity, Accuracy and HD95 (95 % Hausdorff distance, which takes far
            longer than the others together).
        classes: Names of the dataset's classes to score; None for all.
        absent: Treatment of a class that is neither in an image nor in its prediction:
            ``'perfect'`` scores it as right, ``'skip'`` leaves the image out for this class.
            None is ``'perfect'`` for one scored class and ``'skip'`` for several, since an image
            holds few of many classes.
        threshold: Jaccard index below which TJaccard is 0, in [0, 1].
        spacing: Size of a pixel for HD95: a number, or height and width.
        num_resamples: Number of draws for the bootstrap intervals.
        seed: Seed of these draws; other random numbers are not affected.
        csv_path: File for all scores, a row for each image and class, with the pixels of TP, FP,
            FN and TN; replaced by every evaluation. ``'auto'`` is ``{prefix}.csv`` next to the
            run's log, or in the current folder if there is no log. None writes none.
        ignore_index: Label of pixels that do not count.
        format_only: Whether to score nothing, for images without ground truth, as in mmseg's
            ``IoUMetric``.
        **kwargs: ``prefix``, ``collect_device`` and ``collect_dir`` of mmengine's ``BaseMetric``.
            Two metrics in one list need different prefixes.

    Raises:
        TypeError: ``metrics`` or ``classes`` is one string.
        ValueError: A score is unknown, or a number out of its range.
    """

    default_prefix = "per_image"

    def __init__(
        self,
        metrics: Sequence[str] = OVERLAP_SCORES,
        classes: Sequence[str] | None = None,
        absent: Literal["perfect", "skip"] | None = None,
        threshold: float = 0.65,
        spacing: float | tuple[float, float] = 1.0,
        num_resamples: int = 1000,
        seed: int = 0,
        csv_path: str | None = None,
        ignore_index: int = 255,
        format_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.metrics = _names("metrics", metrics)
        self.classes = None if classes is None else _names("classes", classes)
        unknown = [name for name in self.metrics if name not in _SCORES]
        if unknown:
            raise ValueError(f"metrics must be some of {', '.join(_SCORES)}, got {unknown[0]!r}")
        if absent not in ("perfect", "skip", None):
            raise ValueError(f"absent must be 'perfect', 'skip' or None, got {absent!r}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {threshold}")
        if num_resamples < 1:
            raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
        self.absent = absent
        self.threshold = threshold
        self.spacing = _spacing(spacing)
        self.num_resamples = num_resamples
        self.seed = seed
        self.csv_path = csv_path
        self.ignore_index = ignore_index
        self.format_only = format_only

    def score_names(self) -> list[str]:
        """List the names of results without the prefix: means, then their statistics."""
        if self.format_only:
            return []
        return [name + ending for ending in _STATISTICS for name in self.metrics]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: Unused.
            data_samples: Dicts with ``pred_sem_seg`` and ``gt_sem_seg``, whose ``data`` is
                (1, H, W) class indices on any device, and ``img_path``.

        Raises:
            UserError: Prediction and truth differ in size, the truth is missing, or a label or a
                name in ``classes`` is no class of the dataset.
        """
        if not self.format_only:
            self.results.extend(self._measure(sample) for sample in data_samples)

    def _measure(self, sample: dict[str, Any]) -> _ImageResult:
        classes = class_names(self.dataset_meta)
        prediction, truth, valid = read_sample(sample, len(classes), self.ignore_index)
        chosen = [classes.index(name) for name in self._scored_classes()]
        counts = class_counts(prediction[valid], truth[valid], len(classes))[chosen]
        hd95 = np.zeros(len(chosen))
        if "HD95" in self.metrics:
            for i in np.flatnonzero(counts[:, :3].any(axis=1)):
                found, there = (prediction == chosen[i]) & valid, (truth == chosen[i]) & valid
                hd95[i] = hausdorff95(found, there, self.spacing)
        return _ImageResult(str(sample.get("img_path", "")), counts, hd95)

    def _scored_classes(self) -> list[str]:
        classes = class_names(self.dataset_meta)
        for name in self.classes or ():
            if name not in classes:
                raise UserError(
                    f"classes of {type(self).__name__} has {name!r}, which the dataset has not; "
                    f"choose from {', '.join(classes)}"
                )
        return list(self.classes or classes)

    def compute_metrics(self, results: list[_ImageResult]) -> dict[str, float]:
        """Average over images, log the table, write the CSV file; runs in the main process.

        Args:
            results: Measures of each image of the dataset, from all processes.

        Returns:
            Four results for each of ``metrics``; none under ``format_only``.

        Raises:
            UserError: There are no images, or the CSV file cannot be written.
        """
        if self.format_only:
            return {}
        if not results:
            raise UserError(f"{type(self).__name__} got no images; check the dataset's folders")
        classes = self._scored_classes()
        scores = self._scores(results)
        if self.csv_path is not None:
            paths = [result.path for result in results]
            counts = np.stack([result.counts for result in results])
            write_csv(self._csv_file(), paths, classes, self.metrics, scores, counts)
            print_log(f"Scores of each image are in {self._csv_file()}", "current")
        if len(classes) > 1:
            scores = np.concatenate([nan_mean(scores, axis=1)[:, None], scores], axis=1)
            classes = ["mean of classes", *classes]
        summary = summarize(scores.reshape(len(results), -1), self.num_resamples, self.seed)
        table = format_table(classes, self.metrics, summary)
        print_log(f"scores by image, mean ± std and [95 % interval]:\n{table}", "current")
        # The first columns belong to the mean of the classes, or to the only class.
        values = (summary.mean, summary.std, summary.low, summary.high)
        statistics = dict(zip(_STATISTICS, values, strict=True))
        return {
            name + ending: float(column[m])
            for m, name in enumerate(self.metrics)
            for ending, column in statistics.items()
        }

    def _scores(self, results: list[_ImageResult]) -> NDArray[np.float64]:
        """(images, classes, metrics), in percent or pixels; nan where left out."""
        counts = np.stack([result.counts for result in results])
        tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
        scores = {k: 100 * v for k, v in overlap_scores(counts, self.threshold).items()}
        scores["HD95"] = np.stack([result.hd95 for result in results])
        left_out = tp + fp + fn + tn == 0
        if self.absent == "skip" or (self.absent is None and counts.shape[1] > 1):
            left_out |= tp + fp + fn == 0
        values = np.stack([scores[name] for name in self.metrics], axis=-1)
        return np.where(left_out[..., None], np.nan, values)

    def _csv_file(self) -> Path:
        if self.csv_path != "auto":
            return Path(str(self.csv_path))
        log = MMLogger.get_current_instance().log_file
        return Path(log or "").parent / f"{str(self.prefix).replace('/', '_')}.csv"


def _names(argument: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"{argument} must be a list of names, got {names!r}")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{argument} must be different names, at least one, got {list(names)}")
    return tuple(names)


def _spacing(spacing: float | Sequence[float]) -> tuple[float, float]:
    pair = (spacing, spacing) if isinstance(spacing, (int, float)) else tuple(spacing)
    if len(pair) != 2 or not all(side > 0 for side in pair):
        raise ValueError(f"spacing must be one or two positive numbers, got {spacing!r}")
    return float(pair[0]), float(pair[1])
