"""Stop at once where model, data and metrics disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
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

    Compared are numbers of classes and ignored labels, of whatever has them, ``save_best`` and
    metrics; a data set without images is told too. Without the hook a wrong number of classes
    trains a useless model in silence (too many), or ends in an index error, on a GPU an unexplained
    device assertion (too few).

    Raises:
        UserError: They disagree, and the message names all that do and the options to set; or a
            label is no class, and the message names the file.
    """

    def before_train(self, runner: Runner) -> None:
        """Check what trains and what validates."""
        found = self._disagreements(runner, "train", "val")
        validation = parts_of(runner, ["val"])
        self._refuse([*found, *(find_unmeasured(runner.hooks, *validation) if validation else ())])

    def before_val(self, runner: Runner) -> None:
        """Check what validates, which may run without training."""
        self._refuse(self._disagreements(runner, "val"))

    def before_test(self, runner: Runner) -> None:
        """Check what tests."""
        self._refuse(self._disagreements(runner, "test"))

    def _disagreements(self, runner: Runner, *names: str) -> list[str]:
        return find_disagreements(unwrap_segmentor(runner.model), parts_of(runner, names))

    def _refuse(self, found: list[str]) -> None:
        if found:
            raise UserError("; ".join(found))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Check the labels of a batch, on the CPU, before they reach the device."""
        check_labels(unwrap_segmentor(runner.model), data_batch)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """As in training: mmseg's metric passes over labels that are no class."""
        check_labels(unwrap_segmentor(runner.model), data_batch)

    before_test_iter = before_val_iter


def check_labels(segmentor: BaseSegmentor, data_batch: Mapping[str, Any] | None) -> None:
    """Look whether every label of a batch is a class or ignored.

    Args:
        segmentor: Its heads tell what labels there are.
        data_batch: As data loaders give it, of test-time augmentation too; images without labels
            are passed over.

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
                f"has {num_classes} (0 to {num_classes - 1}; {ignored} is ignored); mend the file "
                "or what a transform fills in, or set num_classes, or ignore_index of data set, "
                "heads and metrics"
            )


def label_outside(labels: Tensor, num_classes: int, ignore_index: int | None) -> int | None:
    """A label that is neither a class nor ignored, or None.

    Args:
        labels: Class indices of any shape, an integer type.
        num_classes: Classes are 0 to ``num_classes`` - 1.
        ignore_index: The label that is no class on purpose; None for none.
    """
    outside = torch.logical_or(labels < 0, labels >= num_classes)
    if ignore_index is not None:
        outside &= labels != ignore_index
    return int(labels[outside][0]) if outside.any() else None


def unwrap_segmentor(model: torch.nn.Module) -> BaseSegmentor:
    """The segmentor inside a distributed wrapper, a test-time augmentation model, or both."""
    inner: Any = model.module if is_model_wrapper(model) else model
    return getattr(inner, "module", inner)
