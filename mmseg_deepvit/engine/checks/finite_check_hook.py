"""NaN and Inf: told where they come from, and never saved."""

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

#: Parts of a checkpoint that training goes on from.
_SAVED = ("state_dict", "ema_state_dict", "optimizer")


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """Stop where a loss is not finite, before the optimiser steps, or skip the step.

    With a loss scaler (``AmpOptimWrapper``) the scaler skips the step; what the batch has done to
    running statistics is undone. Otherwise, and after too many such steps on end, the batch is run
    again to find the layer, and training stops. Images of floating-point numbers are looked at
    before they reach the model. A checkpoint with NaN or Inf in weights, average or optimiser is
    not written.

    The check takes one small tensor from the device in each iteration; mmengine's log takes every
    loss.

    Args:
        max_skipped: Steps on end that the scaler may skip for a loss that is not finite.

    Raises:
        ValueError: ``max_skipped`` is below 0.
        UserError: In training; the message names loss, layer and images.
    """

    priority = "ABOVE_NORMAL"  # the average takes running statistics over after us

    def __init__(self, max_skipped: int = 10) -> None:
        if max_skipped < 0:
            raise ValueError(f"max_skipped must be at least 0, got {max_skipped}")
        self.max_skipped = max_skipped
        self._skipped = 0
        self._undo = False

    def before_train(self, runner: Runner) -> None:
        """Begin to look at the losses."""
        self._runner = runner
        segmentor = unwrap_segmentor(runner.model)
        norms = [m for m in segmentor.modules() if isinstance(m, _NormBase)]
        self._statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self._handle = segmentor.register_forward_hook(self._check_losses, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Look no more."""
        self._handle.remove()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Check the images, and keep what a step that is skipped must not change."""
        batch = data_batch or {}
        self._images = [s.metainfo.get("img_path") for s in batch.get("data_samples", ())]
        for name, image in zip(self._images, batch.get("inputs", ()), strict=False):
            if not is_finite(image):
                raise UserError(
                    f"{name} holds NaN or Inf after the transforms: mend the file, or remove image "
                    "and mask"
                )
        if self._scaler_skips():
            self._kept = [buffer.clone() for buffer in self._statistics]

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Undo what a skipped step's batch has done, the pass that recomputes blocks included."""
        if self._undo:
            self._undo = False
            for buffer, kept in zip(self._statistics, self._kept, strict=True):
                buffer.copy_(kept)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to save what is not finite."""
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
        # Other processes stop too: they run this batch again together, norms being synchronised.
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
        """What is wrong, and what to do; runs the batch again."""
        if find_not_finite([args, kwargs]) is not None:
            return "so are the images behind data_preprocessor: look at its mean and std"
        remedy = "lower the learning rate, or clip gradients (optim_wrapper.clip_grad.max_norm=1)"
        name = find_not_finite(dict(segmentor.named_parameters()))
        if name is not None:
            return f"the last step made {name} not finite: {remedy}"
        loop: Any = self._runner.train_loop
        if hasattr(loop, "seed_iteration"):  # so that drop path and PatchMix are the same
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
    """Whether all losses of all processes are."""
    if not sums:
        return True
    finite = torch.isfinite(torch.stack(list(sums.values()))).all().float()
    if get_world_size() > 1:
        all_reduce(finite, "min")
    return bool(finite)
