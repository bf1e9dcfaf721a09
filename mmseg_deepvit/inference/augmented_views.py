"""Merge the predictions of an image's augmented views.

Reference: mmsegmentation ``mmseg/models/segmentors/seg_tta.py``.
Deviations: the mean probabilities are kept; the labels obey ``test_cfg`` of
:class:`~mmseg_deepvit.inference.sliding.SlidingEncoderDecoder`. mmseg takes the sigmoid of a single
logit twice, so that it is never below 0.5.
"""

from __future__ import annotations

import torch
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor


@MODELS.register_module()
class ProbabilityTTAModel(SegTTAModel):
    """``SegTTAModel`` that also gives ``seg_probabilities``, (classes, H, W), or (1, H, W)."""

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        """Average the views of each image.

        Args:
            data_samples_list: Predictions of the views of each image.

        Returns:
            Each image's first view with the merged prediction.
        """
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: list[SegDataSample]) -> SegDataSample:
        single = self.module.out_channels == 1
        probabilities = torch.zeros_like(views[0].seg_logits.data)
        for view in views:
            scores: Tensor = view.seg_logits.data
            # The segmentor has taken the sigmoid of a single logit.
            probabilities += (scores if single else scores.softmax(dim=0)) / len(views)
        if single:
            labels = (probabilities > self.module.decode_head.threshold).to(probabilities)
        else:
            labels = probabilities.argmax(dim=0, keepdim=True)
        refine = getattr(self.module, "refine_labels", None)
        merged = views[0]
        merged.set_data(
            dict(
                pred_sem_seg=PixelData(data=refine(labels) if refine else labels),
                seg_probabilities=PixelData(data=probabilities),
            )
        )
        return merged
