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
from ..inference import input_channels
from ..inference.arrays import RGB_CHANNELS
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
        """Map images, 0 to 255, (B, channels, H, W), float32, to logits, (B, classes, H, W).

        Three channels are RGB; other numbers are the bands that the config's test loads.
        """
        return logits_of(self.model, self.normalize(images))


class Normalize(nn.Module):
    """Normalisation of a segmentor, from RGB or bands, for models trained in RGB, BGR or bands.

    Args:
        model: Segmentor with mmseg's ``SegDataPreProcessor`` or our ``BandDataPreProcessor``.

    Attributes:
        channels: Number of channels.
        reverses: Whether the model takes three channels as B, G, R.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: BaseSegmentor) -> None:
        super().__init__()
        own = model.data_preprocessor
        self.channels = input_channels(model.cfg.model)
        # Images are read as BGR; a conversion makes RGB of them.
        self.reverses = self.channels == RGB_CHANNELS and not own._channel_conversion
        given = (own.mean, own.std) if own._enable_normalize else (torch.zeros(1), torch.ones(1))
        for name, values in zip(("mean", "std"), given, strict=True):
            values = values.reshape(-1, 1, 1).expand(self.channels, 1, 1)
            self.register_buffer(name, values.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Map raw RGB or bands, (B, channels, H, W), to the segmentor's input."""
        return ((images.flip(1) if self.reverses else images) - self.mean) / self.std


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
