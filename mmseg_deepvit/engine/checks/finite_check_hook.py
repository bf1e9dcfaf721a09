"""Find the cause of NaN and Inf in training, and never save them."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ...errors import UserError
from .class_check_hook import unwrap_segmentor
from .finite import find_layer, find_not_finite, is_finite

#: Parts of a checkpoint that training resumes from.
_SAVED = ("state_dict", "ema_state_dict", "optimizer")


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """Stop where a loss is not finite, before the optimiser steps, or skip the step.

    A loss scaler (``AmpOptimWrapper``) skips the step, and the hook restores running statistics.
    Without a scaler, or after too many skipped steps, the hook runs the batch again to find the
    layer, and stops. It checks floating-point images before they reach the model, and does not
    write checkpoints with NaN or Inf in weights, average or optimiser.

    The check copies one small tensor from the device in each iteration.

    Args:
        max_skipped: Number of steps in a row that the scaler may skip.

    Raises:
        ValueError: ``max_skipped`` is below 0.
        UserError: Training must stop; the message names loss, layer and images.
    """

    priority = "ABOVE_NORMAL"  # before EMAHook, which averages running statistics

    def __init__(self, max_skipped: int = 10) -> None:
        if max_skipped < 0:
            raise ValueError(f"max_skipped must be at least 0, got {max_skipped}")
        self.max_skipped = max_skipped
        self._skipped = 0
        self._undo = False

    def before_train(self, runner: Runner) -> None:
        """Begin to check the losses."""
        self._runner = runner
        segmentor = unwrap_segmentor(runner.model)
        norms = [m for m in segmentor.modules() if isinstance(m, _NormBase)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self._handle = segmentor.register_forward_hook(self._check_losses, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Stop checking."""
        self._handle.remove()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Check the images, and keep the statistics that a skipped step must not change."""
        batch = data_batch or {}
        self._images = [s.metainfo.get("img_path") for s in batch.get("data_samples", ())]
        for name, image in zip(self._images, batch.get("inputs", ()), strict=False):
            if not is_finite(image):
                raise UserError(
                    f"{name} holds NaN or Inf after the transforms: correct the file, or remove "
                    "image and mask"
                )
        if self._scaler_skips():
            self._kept = [buffer.clone() for buffer in self._statistics]

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Restore the statistics after a skipped step, and after the recomputing of its blocks."""
        if self._undo:
            self._undo = False
            for buffer, kept in zip(self._statistics, self._kept, strict=True):
                buffer.copy_(kept)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to save numbers that are not finite."""
        for part in _SAVED:
            name = find_not_finite(checkpoint.get(part), part)
            if name is not None:
                raise UserError(
                    f"not saved, for {name} is not finite: lower the learning rate or clip "
                    "gradients (optim_wrapper.clip_grad.max_norm=1); earlier checkpoints are as "
                    "they were, and --resume goes on from them"
                )

    def _scaler_skips(self) -> bool:
        scaler = getattr(self._runner.optim_wrapper, "loss_scaler", None)
        return scaler is not None and scaler.is_enabled()

    def _check_losses(
        self, segmentor: nn.Module, args: Any, kwargs: dict[str, Any], losses: Any
    ) -> None:
        if not isinstance(losses, dict):  # the segmentor predicts
            return
        sums = {name: _sum(value) for name, value in losses.items() if "loss" in name}
        if _all_finite(sums):
            self._skipped = 0
            return
        wrong = [
            f"{name} is {float(value)}" for name, value in sums.items() if not is_finite(value)
        ]
        # All processes stop: synchronised norms make them run the batch again together.
        said = f"iteration {self._runner.iter + 1}: {', '.join(wrong) or 'another process has NaN'}"
        if self._scaler_skips() and self._skipped < self.max_skipped:
            self._skipped += 1
            self._undo = True
            print_log(f"{said}; the step is skipped", "current", logging.WARNING)
            return
        cause = self._find_cause(segmentor, args, kwargs)
        images = ", ".join(map(str, self._images))
        raise UserError(
            f"{said}; {cause}; images {images}; checkpoints are as they were, and --resume goes on "
            "from them"
        )

    def _find_cause(self, segmentor: nn.Module, args: Any, kwargs: dict[str, Any]) -> str:
        """Run the batch again; returns the cause and a remedy."""
        if find_not_finite([args, kwargs]) is not None:
            return "so are the images after data_preprocessor: look at its mean and std"
        remedy = "lower the learning rate, or clip gradients (optim_wrapper.clip_grad.max_norm=1)"
        name = find_not_finite(dict(segmentor.named_parameters()))
        if name is not None:
            return f"the last step made {name} not finite: {remedy}"
        loop: Any = self._runner.train_loop
        if hasattr(loop, "seed_iteration"):  # for the same drop path and PatchMix
            loop.seed_iteration()
        with torch.no_grad():
            layer = find_layer(segmentor, lambda: segmentor.forward(*args, **kwargs))
        if layer is None:
            return f"the output of every layer is finite, the loss is not: {remedy}"
        return f"the first layer whose output is not finite is {layer}: {remedy}, or use bf16"


def _sum(value: Tensor | list[Tensor]) -> Tensor:
    parts = [value] if isinstance(value, Tensor) else value
    return torch.stack([part.detach().float().sum() for part in parts]).sum()


def _all_finite(sums: dict[str, Tensor]) -> bool:
    """Whether all losses of all processes are finite."""
    if not sums:
        return True
    finite = torch.isfinite(torch.stack(list(sums.values()))).all().float()
    if get_world_size() > 1:
        all_reduce(finite, "min")
    return bool(finite)
