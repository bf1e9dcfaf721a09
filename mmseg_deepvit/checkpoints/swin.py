"""Swin Transformers as published, in the names and the layout of mmseg's ``SwinTransformer``.

Paper: Swin Transformer, https://arxiv.org/abs/2103.14030.
Reference: microsoft/Swin-Transformer and SwinTransformer/Swin-Transformer-Semantic-Segmentation
(names); mmseg ``models/utils/embed.py`` (``PatchMerging``).

Patch merging concatenates the C channels of 2×2 neighbours and projects all 4·C. Published: the
neighbour is the outer index, k = 2·column + row. mmseg's layer takes ``nn.Unfold``'s order: the
channel is the outer index, and the neighbour 2·row + column. So the weights' inputs are reordered.
"""

from __future__ import annotations

from torch import Tensor

from .key_maps import CLASSIFIERS, Drop, KeyMap

_BLOCKS: KeyMap = (
    *CLASSIFIERS,
    (r"norm\..+", Drop("classifier")),
    (r".+\.attn_mask", Drop("made by the model")),
    (r"patch_embed\.proj\.(.+)", r"patch_embed.projection.\1"),
    (r"layers\.(\d+)\.blocks\.(\d+)\.attn\.(.+)", r"stages.\1.blocks.\2.attn.w_msa.\3"),
    (r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc1\.(.+)", r"stages.\1.blocks.\2.ffn.layers.0.0.\3"),
    (r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc2\.(.+)", r"stages.\1.blocks.\2.ffn.layers.1.\3"),
    (r"layers\.(\d+)\.blocks\.(.+)", r"stages.\1.blocks.\2"),
)

#: Stages end with their patch merging, as in mmseg.
SWIN: KeyMap = (*_BLOCKS, (r"layers\.(\d+)\.downsample\.(.+)", r"stages.\1.downsample.\2"))

#: Stages begin with it: stage i's is the one that mmseg's stage i - 1 ends with.
TIMM_SWIN: KeyMap = (
    *_BLOCKS,
    *((rf"layers\.{i + 1}\.downsample\.(.+)", rf"stages.{i}.downsample.\1") for i in range(3)),
)


def unfold_order(parameter: Tensor) -> Tensor:
    """Reorder what belongs to the 4·C inputs of a published patch merging as mmseg has them.

    Args:
        parameter: (4·C,) of its norm, or (2·C, 4·C) of its projection.

    Returns:
        A tensor of the same shape.
    """
    inputs = parameter.shape[-1]
    outer = parameter.shape[:-1]
    column_row_channel = parameter.reshape(*outer, 2, 2, inputs // 4)
    return column_row_channel.transpose(-3, -1).reshape(*outer, inputs)
