"""Draw predictions over images that OpenCV alone cannot read."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmengine.runner import Runner
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..label_pictures import as_picture
from .resuming.seeding import unwrap_dataset


@HOOKS.register_module()
class LoadedImageVisualizationHook(SegVisualizationHook):
    """mmseg's hook, with images read by the data set's own loading transform.

    Args:
        *args: Arguments of mmseg's hook.
        **kwargs: Arguments of mmseg's hook.
    """

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any],
        outputs: Sequence[SegDataSample],
    ) -> None:
        """Draw the first image of every ``interval``-th batch of a validation."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._draw(runner.val_dataloader.dataset, outputs[0], "val", step)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any],
        outputs: Sequence[SegDataSample],
    ) -> None:
        """Draw every image of a test."""
        for sample in outputs if self.draw else ():
            self._test_index += 1
            self._draw(runner.test_dataloader.dataset, sample, "test", self._test_index)

    def _draw(self, dataset: Any, sample: SegDataSample, part: str, step: int) -> None:
        load = unwrap_dataset(dataset).pipeline.transforms[0]
        picture = as_picture(load(dict(img_path=sample.img_path))["img"])[..., ::-1]
        name = f"{part}_{osp.basename(sample.img_path)}"
        shown = dict(show=self.show, wait_time=self.wait_time, step=step)
        self._visualizer.add_datasample(name, picture, data_sample=sample, **shown)
