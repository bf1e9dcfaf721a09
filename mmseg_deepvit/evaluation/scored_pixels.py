"""Prediction and truth of an image, checked, from what a segmentor gives a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError


class ScoredPixels(NamedTuple):
    """Label maps of an image, (H, W) each.

    Attributes:
        prediction: Predicted class indices.
        truth: True class indices, and the ignored label.
        valid: Whether a pixel counts.
    """

    prediction: NDArray[np.int64]
    truth: NDArray[np.int64]
    valid: NDArray[np.bool_]


def class_names(dataset_meta: Mapping[str, Any] | None) -> list[str]:
    """Names of a data set's classes; UserError if it has none."""
    classes = (dataset_meta or {}).get("classes")
    if not classes:
        raise UserError("the dataset names no classes; give it metainfo=dict(classes=(…))")
    return list(classes)


def read_sample(sample: Mapping[str, Any], num_classes: int, ignore_index: int) -> ScoredPixels:
    """Read a prediction and its truth.

    Args:
        sample: Dict with ``pred_sem_seg`` and ``gt_sem_seg``, whose ``data`` is (1, H, W) class
            indices on any device, and ``img_path``.
        num_classes: Number of classes.
        ignore_index: Label of pixels that do not count.

    Raises:
        UserError: Prediction and truth differ in size, the truth is missing, or a label is no
            class.
    """
    path = str(sample.get("img_path", ""))
    if "gt_sem_seg" not in sample:
        raise UserError(
            f"{path} has no ground truth; load it in the pipeline, or set format_only=True"
        )
    prediction, truth = _label_map(sample["pred_sem_seg"]), _label_map(sample["gt_sem_seg"])
    if prediction.shape != truth.shape:
        sizes = ["×".join(map(str, labels.shape)) for labels in (prediction, truth)]
        raise UserError(
            f"the prediction of {path} is {sizes[0]} and its ground truth {sizes[1]}; in the "
            "test pipeline, put LoadAnnotations after every Resize"
        )
    valid = truth != ignore_index
    for labels, what in ((truth, "ground truth"), (prediction, "prediction")):
        _check_labels(labels[valid], num_classes, ignore_index, f"the {what} of {path}")
    return ScoredPixels(prediction, truth, valid)


def _label_map(pixels: Mapping[str, Tensor]) -> NDArray[np.int64]:
    """(H, W) class indices."""
    data = pixels["data"]
    return data.reshape(data.shape[-2:]).cpu().long().numpy()  # models of one logit give floats


def _check_labels(
    labels: NDArray[np.int64], num_classes: int, ignore_index: int, what: str
) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(
            f"label {wrong} in {what} is no class: the dataset has {num_classes} (0 to "
            f"{num_classes - 1}; {ignore_index} is ignored); correct the file, or set the model's "
            "num_classes to fit the dataset"
        )
