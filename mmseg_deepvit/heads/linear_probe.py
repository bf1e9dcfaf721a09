"""The head of linear probing: a norm and one linear layer on the maps of a frozen backbone.

Paper: DINOv2, https://arxiv.org/abs/2304.07193; DINOv3, https://arxiv.org/abs/2508.10104.
Reference: facebookresearch/dinov2, the head of its linear segmentors; facebookresearch/dinov3,
``dinov3/eval/segmentation`` (protocol, default values).
Deviations: the norm stands before dropout, as in DINOv2. In DINOv3 it stands after it and sees
maps that tests do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class LinearProbeHead(BaseDecodeHead):
    """Norm, dropout and a 1×1 convolution.

    mmseg's ``FCNHead`` without convolutions is the same without the norm. Features of different
    backbones differ in scale by far, and the norm lets them learn at one rate.

    Args:
        in_channels: Channels C of each map.
        channels: The same, as mmseg's heads take it; None for ``in_channels``.
        in_index: Map, or several, which are resized to the first one and concatenated.
        norm_cfg: Norm, as for mmcv's ``build_norm_layer``; None for none.
        **kwargs: Arguments of mmseg's ``BaseDecodeHead``.

    Raises:
        ValueError: ``channels`` and ``in_channels`` differ.

    Example:
        >>> import torch
        >>> head = LinearProbeHead(192, in_index=(0, 1), norm_cfg=dict(type='BN'), num_classes=5)
        >>> head((torch.rand(2, 192, 14, 14), torch.rand(2, 192, 14, 14))).shape
        torch.Size([2, 5, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int | None = None,
        *,
        in_index: int | Sequence[int] = -1,
        norm_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if channels not in (None, in_channels):
            raise ValueError(
                f"channels must be in_channels, {in_channels}, as no layer changes them, got "
                f"{channels}; leave it out"
            )
        inputs: dict[str, Any] = dict(in_channels=in_channels, in_index=in_index)
        width = in_channels
        if not isinstance(in_index, int):
            width *= len(in_index)
            inputs.update(
                in_channels=[in_channels] * len(in_index), input_transform="resize_concat"
            )
        super().__init__(channels=width, norm_cfg=norm_cfg, **inputs, **kwargs)
        self.norm = nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, width)[1]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify each position.

        Args:
            inputs: Maps of the backbone, (B, C, h, w) each.

        Returns:
            Logits, (B, classes, h, w), of the size of the first map.
        """
        logits: Tensor = self.cls_seg(self.norm(self._transform_inputs(inputs)))
        return logits
