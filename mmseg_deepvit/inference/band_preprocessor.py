"""Normalisation of images with any number of bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS


@MODELS.register_module()
class BandDataPreProcessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor``, which takes one or three channels, for any number.

    Args:
        mean: Mean of each band, as it is loaded.
        std: Standard deviation of each band, above 0.
        **kwargs: Arguments of ``SegDataPreProcessor``. Three bands are turned from B, G, R to R, G,
            B by ``bgr_to_rgb``; others keep their order.

    Raises:
        ValueError: ``mean`` and ``std`` differ in length, or a deviation is not above 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(mean) != len(std) or min(std, default=0) <= 0:
            raise ValueError(
                f"mean and std must have a number for each band, std above 0, got {mean} and {std}"
            )
        self._enable_normalize = True
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)
