"""The exported network: from raw images to class logits, in standard operators.

Reference: mmsegmentation ``mmseg/models/data_preprocessor.py`` and ``encoder_decoder.py``
(inference without windows).
"""

from __future__ import annotations

import copy
import math

import torch
from mmseg.models import BaseSegmentor
from timm.layers.helpers import to_2tuple
from torch import Tensor, nn

from ..attention import HeadMixingAttention
from ..backbones.embed import resize_pos_embed
from ..backbones.vit import ViTTrunk
from .folding import fold_map_norms

#: Parts that only training uses.
_TRAINING_PARTS = ("auxiliary_head", "patch_head", "diversity_loss")


class ExportNetwork(nn.Module):
    """A copy of a segmentor for export, without training heads and with folded map norms.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`, on the CPU.
        shape: Height and width in pixels to which the position embeddings are resized; None lets
            the graph resize them.
    """

    def __init__(self, model: BaseSegmentor, shape: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.normalize = Normalize(model)
        self.model = copy.deepcopy(model).eval()
        self.model.data_preprocessor = None
        for name in _TRAINING_PARTS:
            if hasattr(self.model, name):
                setattr(self.model, name, None)
        self.num_folded = fold_map_norms(self.model)
        for attention in self.model.modules():
            if isinstance(attention, HeadMixingAttention):
                mixes = attention.pre_mix is not None or attention.post_mix is not None
                attention.backend = "explicit" if mixes else "auto"
        _replace_adaptive_pools(self.model)
        if shape is not None and isinstance(self.model.backbone, ViTTrunk):
            _resize_positions(self.model.backbone, shape)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, RGB, 0 to 255, (B, 3, H, W), float32, to logits, (B, classes, H, W)."""
        return logits_of(self.model, self.normalize(images))


class Normalize(nn.Module):
    """Normalisation of a segmentor, from RGB, for models trained in RGB or BGR.

    Args:
        model: Segmentor with mmseg's ``SegDataPreProcessor``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: BaseSegmentor) -> None:
        super().__init__()
        own = model.data_preprocessor
        #: Images are read as BGR; a conversion makes RGB of them.
        self.rgb = bool(own._channel_conversion)
        normalizes = own._enable_normalize
        self.register_buffer("mean", own.mean.clone() if normalizes else torch.zeros(3, 1, 1))
        self.register_buffer("std", own.std.clone() if normalizes else torch.ones(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map raw RGB, (B, 3, H, W), to the segmentor's input, (B, 3, H, W)."""
        return ((images if self.rgb else images.flip(1)) - self.mean) / self.std


def logits_of(model: BaseSegmentor, inputs: Tensor) -> Tensor:
    """Compute a segmentor's logits at the size of its normalised inputs, without windows."""
    size = inputs.shape[2:]
    # One meta for all images: heads read the first, and a list would fix the batch in the graph.
    metas = [dict(img_shape=size, ori_shape=size, pad_shape=size)]
    logits: Tensor = model.encode_decode(inputs, metas)
    return logits


class AdaptiveAveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, which graphs of varying sizes can hold.

    Args:
        size: Height and width of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C, h, w)."""
        rows, columns = (
            _pooling_weights(x.shape[dim], size, x)
            for dim, size in zip((-2, -1), self.size, strict=True)
        )
        return rows @ x @ columns.T


def _pooling_weights(old: int, new: int, like: Tensor) -> Tensor:
    """Weights, (new, old): cell i is the mean of values ⌊i·old/new⌋ to ⌈(i+1)·old/new⌉ - 1."""
    values = torch.arange(old, device=like.device)
    cells = torch.arange(new, device=like.device)[:, None]
    # A tensor: some graphs lose arithmetic on a traced size.
    count = values[-1:] + 1
    inside = (values >= cells * count // new) & (values < ((cells + 1) * count + new - 1) // new)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


def _replace_adaptive_pools(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d):
                height, width = to_2tuple(child.output_size)
                if height is not None and width is not None:
                    setattr(parent, name, AdaptiveAveragePool((height, width)))


@torch.no_grad()
def _resize_positions(backbone: ViTTrunk, shape: tuple[int, int]) -> None:
    grid = (
        math.ceil(shape[0] / backbone.patch_size[0]),
        math.ceil(shape[1] / backbone.patch_size[1]),
    )
    if backbone.pos_embed is not None:
        backbone.pos_embed = nn.Parameter(
            resize_pos_embed(
                backbone.pos_embed,
                backbone.patch_grid,
                grid,
                backbone.num_prefix_positions,
                backbone.interpolate_mode,
                backbone.interpolate_antialias,
            )
        )
    backbone.patch_grid = grid
