"""Stop before the first iteration where model, data and metrics disagree."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor
from mmseg.registry import HOOKS
from torch import Tensor

from ...errors import UserError
from ...inference.sliding import scored_classes
from .agreement import find_disagreements, find_unmeasured, ignored_label, parts_of


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Compare model, data and metrics before the first iteration, and every label with the classes.

    The hook compares numbers of classes, ignored labels, and ``save_best`` with the metrics, and
    refuses a data set without images. Without the hook, too many classes silently train a useless
    model. Too few end in an index error, or in a device assertion on a GPU.

    Raises:
        UserError: Settings disagree: the message names them and the options to set. Or a label is
            no class: the message names the file.
    """

    def before_train(self, runner: Runner) -> None:
        """Check training and validation."""
        self._check(runner, "train", "val")

    def before_val(self, runner: Runner) -> None:
        """Check validation, which may run without training."""
        self._check(runner, "val")

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the classes of the training."""
        meta = checkpoint.get("meta") or {}
        self._trained = list((meta.get("dataset_meta") or {}).get("classes") or ())

    def before_test(self, runner: Runner) -> None:
        """Check testing; other names of classes than those of the training are a warning."""
        self._check(runner, "test")
        tested = list(getattr(runner.test_dataloader.dataset, "metainfo", {}).get("classes") or ())
        trained = getattr(self, "_trained", [])
        if len(trained) == len(tested) and _folded(trained) != _folded(tested):
            i = next(i for i, (a, b) in enumerate(zip(trained, tested, strict=True)) if a != b)
            print_log(
                f"class {i} is {trained[i]!r} in the checkpoint and {tested[i]!r} in the config's "
                "test data; scores compare them by their numbers",
                "current",
                logging.WARNING,
            )

    def _check(self, runner: Runner, *names: str) -> None:
        parts = parts_of(runner, names)
        found = find_disagreements(unwrap_segmentor(runner.model), parts)
        for part in parts:
            if part.name == "val" and "train" in names:
                found += find_unmeasured(runner.hooks, part, unwrap_segmentor(runner.model))
        if found:
            raise UserError("; ".join(found))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Check the labels of a batch, on the CPU, before they reach the device.

        mmseg's metric would skip labels that are no class, in validation and test.
        """
        check_labels(unwrap_segmentor(runner.model), data_batch)

    before_val_iter = before_test_iter = before_train_iter


def _folded(names: list[str]) -> list[str]:
    return [name.casefold().strip() for name in names]


def check_labels(segmentor: BaseSegmentor, data_batch: Mapping[str, Any] | None) -> None:
    """Check that every label of a batch is a class or ignored.

    Args:
        segmentor: Segmentor, whose heads have the classes.
        data_batch: Batch from a data loader, with test-time augmentation or without; images without
            labels are skipped.

    Raises:
        UserError: A label is neither; the message names the file.
    """
    ignored, num_classes = ignored_label(segmentor), scored_classes(segmentor)
    for views in (data_batch or {}).get("data_samples", ()):
        sample = views[0] if isinstance(views, list | tuple) else views
        labels = getattr(sample, "gt_sem_seg", None)
        if labels is None:
            continue
        wrong = label_outside(labels.data, num_classes, ignored)
        if wrong is not None:
            raise UserError(
                f"label {wrong} in {sample.metainfo.get('seg_map_path')} is no class: the model "
                f"has {num_classes} (0 to {num_classes - 1}; {ignored} is ignored); correct the "
                "file or the label that a transform fills in, or set num_classes, or ignore_index "
                "of data set, heads and metrics"
            )


def label_outside(labels: Tensor, num_classes: int, ignore_index: int | None) -> int | None:
    """A label that is neither a class nor ignored, or None.

    Args:
        labels: Class indices of any shape, of an integer type.
        num_classes: Number of classes.
        ignore_index: Label to ignore; None for none.
    """
    outside = torch.logical_or(labels < 0, labels >= num_classes)
    if ignore_index is not None:
        outside &= labels != ignore_index
    return int(labels[outside][0]) if outside.any() else None


def unwrap_segmentor(model: torch.nn.Module) -> BaseSegmentor:
    """The segmentor inside a distributed wrapper, a test-time augmentation model, or both."""
    inner: Any = model.module if is_model_wrapper(model) else model
    return getattr(inner, "module", inner)
