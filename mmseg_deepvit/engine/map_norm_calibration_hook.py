"""Calibrate the maps' BatchNorms before a warm start's first step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor
from mmseg.registry import HOOKS
from torch import Tensor

from ..weights import calibrate_map_norms
from .checks.class_check_hook import unwrap_segmentor


@HOOKS.register_module()
class MapNormCalibrationHook(Hook):
    """Set maps' BatchNorms that saw no data to have no effect on some training images.

    For a warm start from a plain transformer; a resumed or loaded model has seen data and stays.
    See :func:`~mmseg_deepvit.weights.warm_start.calibrate_map_norms`.

    Args:
        num_images: Number of training images, evenly spaced and split among the processes.
        batch_size: Number of images in one pass.

    Raises:
        ValueError: A number is below 1.
    """

    def __init__(self, num_images: int = 16, batch_size: int = 2) -> None:
        if num_images < 1 or batch_size < 1:
            raise ValueError(
                f"num_images and batch_size must be at least 1, got {num_images} and {batch_size}"
            )
        self.num_images = num_images
        self.batch_size = batch_size

    def before_train(self, runner: Runner) -> None:
        """Calibrate the norms that saw no data."""
        segmentor = unwrap_segmentor(runner.model)
        batches = self._batches(runner, segmentor)
        names = calibrate_map_norms(segmentor.backbone, batches)
        if names:
            print_log(f"Calibrated {len(names)} norms of attention maps", "current")

    def _batches(self, runner: Runner, segmentor: BaseSegmentor) -> Iterator[Tensor]:
        dataset = runner.train_dataloader.dataset
        rank, world_size = get_dist_info()
        count = max(self.num_images // world_size, 1) * world_size
        chosen = torch.linspace(0, len(dataset) - 1, count).long().tolist()[rank::world_size]
        for start in range(0, len(chosen), self.batch_size):
            samples = [dataset[i] for i in chosen[start : start + self.batch_size]]
            yield segmentor.data_preprocessor(pseudo_collate(samples), training=True)["inputs"]
