"""Measure the loss on the validation images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast_object_list, collect_results
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from torch import nn

from ..errors import UserError
from .checks.class_check_hook import unwrap_segmentor

#: Logit of outputs that prediction skips: their probability is 0.
_NEVER = -1e4
#: Name of the sum of all losses.
_TOTAL = "val/loss"


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Add the decode head's loss on the validation images to the scores of each validation.

    The scores are ``val/loss`` and its parts (``val/loss_ce``, …), means over images: under the
    names alone, curves would mix them with training's. Loss functions, weights and ignored label
    are the head's. They see the logits that are scored: of the model in evaluation, averaged over
    the windows of slide inference, at the size of the labels. So no image runs twice.
    ``save_best='val/loss'`` needs ``rule='less'``.

    Losses of auxiliary heads, of diversity and of weight decay are not in it. With several
    processes each image counts once. A single output's logit is known up to ±16.6, as its sigmoid
    is in float32.

    (mmengine's ``ValLoop`` takes losses from ``val_step``, but averages those of one process.)
    """

    #: Before the hooks that log the scores and decide by them.
    priority = "HIGHEST"

    def score_names(self, segmentor: BaseSegmentor) -> list[str]:
        """List the names of the scores."""
        losses: Any = _last_head(segmentor).loss_decode
        parts: list[Any] = list(losses) if isinstance(losses, nn.ModuleList) else [losses]
        return list(dict.fromkeys([_TOTAL, *(f"val/{part.loss_name}" for part in parts)]))

    def before_val(self, runner: Runner) -> None:
        """Refuse heads whose loss needs more than logits.

        Raises:
            UserError: The decode head is such a head.
        """
        head = _last_head(unwrap_segmentor(runner.model))
        if type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
            raise UserError(
                f"the loss of {type(head).__name__} needs more than its logits, and no validation "
                "loss follows from them: leave out --val-loss or ValidationLossHook"
            )
        self._losses: list[dict[str, float]] = []

    @torch.no_grad()
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Measure each image of a batch."""
        head = _last_head(unwrap_segmentor(runner.model))
        self._losses += [image_losses(head, sample) for sample in outputs or ()]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Average over all images, in all processes, and add the means to the scores."""
        count = len(runner.val_dataloader.dataset)
        means: list[Any] = [None]
        gathered = collect_results(self._losses, count, "cpu")
        if gathered is not None:  # in the first process
            measured = [losses for losses in gathered if losses]
            names = measured[0] if measured else ()
            means = [{k: sum(x[k] for x in measured) / len(measured) for k in names}]
        broadcast_object_list(means)
        if metrics is not None:
            metrics.update(means[0])


def image_losses(head: BaseDecodeHead, sample: SegDataSample) -> dict[str, float]:
    """Losses of one image.

    Args:
        head: Head that has made the logits.
        sample: Prediction with ``seg_logits``, (classes, H, W), and ``gt_sem_seg``.

    Returns:
        The sum, ``val/loss``, and each loss by its name; nothing without a labelled pixel.
    """
    logits = sample.seg_logits.data[None].float()
    if (sample.gt_sem_seg.data == head.ignore_index).all():
        return {}
    if head.out_channels == 1:  # the segmentor has taken the sigmoid
        logits = torch.logit(logits, eps=torch.finfo(logits.dtype).eps / 2)
    unscored = head.out_channels - logits.shape[1]
    logits = F.pad(logits, (0, 0, 0, 0, 0, unscored), value=_NEVER)
    found = head.loss_by_feat(logits, [sample])
    losses = {f"val/{name}": float(value) for name, value in found.items() if "loss" in name}
    return {_TOTAL: sum(losses.values()), **losses}


def _last_head(segmentor: BaseSegmentor) -> Any:
    head = segmentor.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head
