"""Measure collapse during training, as curves in mmengine's visualizer."""

from __future__ import annotations

import time
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..engine import unwrap_segmentor
from .collapse import measure_collapse
from .collapse_report import headline
from .models import choose_images, config_subject


@HOOKS.register_module()
class CollapseHook(Hook):
    """Measure the backbone on the same few images while it trains.

    The scalars ``collapse/…`` are the figures of ``tools/analyze_collapse.py``'s table. The first
    are taken before the first iteration, the others every ``interval`` iterations. Training is not
    changed by a bit: measuring uses evaluation mode, no gradients and no random numbers. The log
    says at the end what share of the time it took.

    Args:
        interval: Number of iterations between measures.
        num_images: Number of images, evenly spaced in the validation set, resized to the training
            crop.

    Raises:
        ValueError: A number below 1.
        UserError: Training starts without images, or with a backbone whose attention
            cannot be read.
    """

    priority = "LOW"  # after the iteration is logged

    def __init__(self, interval: int = 500, num_images: int = 2) -> None:
        if interval < 1 or num_images < 1:
            raise ValueError(
                f"interval and num_images must be at least 1, got {interval} and {num_images}"
            )
        self.interval = interval
        self.num_images = num_images
        self._seconds = 0.0

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Read the images and measure the backbone before its first iteration."""
        subject = config_subject(runner.cfg, unwrap_segmentor(runner.model).backbone)
        images = choose_images([], subject, self.num_images, "val_dataloader")
        self._images = subject.prepare(images, None)
        self._started = time.perf_counter()
        self._measure(runner, runner.iter)

    @master_only
    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Measure when it is time."""
        if self.every_n_train_iters(runner, self.interval):
            self._measure(runner, runner.iter + 1)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Log the share of the time that measuring took."""
        share = self._seconds / (time.perf_counter() - self._started)
        print_log(f"Measures of collapse took {share:.1%} of the training time", "current")

    def _measure(self, runner: Runner, step: int) -> None:
        started = time.perf_counter()
        backbone = unwrap_segmentor(runner.model).backbone
        found = headline(measure_collapse(backbone, self._images, with_cka=False))
        scalars = {f"collapse/{name}": value for name, value in found.items()}
        runner.visualizer.add_scalars(scalars, step=step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._seconds += time.perf_counter() - started
