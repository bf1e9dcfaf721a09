"""Scores on Cityscapes, and predictions in the format of its evaluation server.

Reference: mcordts/cityscapesScripts, README (submission) and
``evaluation/evalPixelLevelSemanticLabeling.py``: PNG files of one channel with label ids, at the
images' own size, named ``<city>_<sequence>_<frame>*.png``.
Deviations: mmseg's ``CityscapesMetric`` needs cityscapesscripts, scores only with its labels, and
deletes all files in its output folder by default. This metric does none of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger
from mmseg.datasets import CityscapesDataset
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from ..datasets.cityscapes import LABEL_IDS
from ..errors import UserError
from ..label_pictures import write_png

_LABEL_ID_OF = dict(zip(CityscapesDataset.METAINFO["classes"], LABEL_IDS, strict=True))


@METRICS.register_module()
class CityscapesIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric`` that writes label ids instead of train ids.

    Args:
        output_dir: Folder for a PNG of each image, made if missing; None writes none.
        format_only: Whether to write predictions without scoring them, for images without masks.
        **kwargs: Arguments of :class:`mmseg.evaluation.IoUMetric`.

    Raises:
        ValueError: ``format_only`` is set without ``output_dir``.
        UserError: A class of the data is not a class of Cityscapes and has no label id.
    """

    def __init__(
        self, output_dir: str | None = None, format_only: bool = False, **kwargs: Any
    ) -> None:
        if format_only and output_dir is None:
            raise ValueError("format_only writes predictions; give output_dir")
        # The parent would write train ids there.
        super().__init__(output_dir=None, format_only=format_only, **kwargs)
        self.label_dir = None if output_dir is None else Path(output_dir)

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Take a batch's predictions.

        Args:
            data_batch: Unused.
            data_samples: Predictions with masks; ``pred_sem_seg`` is (1, H, W), class indices.
        """
        super().process(data_batch, data_samples)
        if self.label_dir is None:
            return
        label_ids = self._label_ids()
        self.label_dir.mkdir(parents=True, exist_ok=True)
        for sample in data_samples:
            classes = sample["pred_sem_seg"]["data"].squeeze(0).cpu().numpy()
            write_png(self.label_dir / f"{Path(sample['img_path']).stem}.png", label_ids[classes])

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Score all images; with ``format_only`` return no score."""
        if self.label_dir is not None:
            MMLogger.get_current_instance().info(f"label ids written to {self.label_dir}")
        return {} if self.format_only else super().compute_metrics(results)

    def _label_ids(self) -> np.ndarray:
        """List the label id of each class of the data, (classes,), uint8."""
        classes = self.dataset_meta["classes"]
        unknown = [name for name in classes if name not in _LABEL_ID_OF]
        if unknown:
            raise UserError(
                f"Cityscapes has no label id for {', '.join(unknown)}; leave output_dir out"
            )
        return np.array([_LABEL_ID_OF[name] for name in classes], dtype=np.uint8)
