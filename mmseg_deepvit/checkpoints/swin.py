"""Names and layout of published Swin Transformers, turned into mmseg's ``SwinTransformer``'s.

Paper: Swin Transformer, https://arxiv.org/abs/2103.14030.
Reference: microsoft/Swin-Transformer and SwinTransformer/Swin-Transformer-Semantic-Segmentation
(names); mmseg ``models/utils/embed.py`` (``PatchMerging``).

Patch merging concatenates the C channels of 2×2 neighbours and projects all 4·C. In published files
the neighbour is the outer index, k = 2·column + row. mmseg's layer follows ``nn.Unfold``: the
channel is the outer index, and the neighbour is 2·row + column. So the inputs are reordered.
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

#: A stage ends with its patch merging, as in mmseg.
SWIN: KeyMap = (*_BLOCKS, (r"layers\.(\d+)\.downsample\.(.+)", r"stages.\1.downsample.\2"))

#: A stage begins with patch merging: stage i has the one that ends stage i - 1 in mmseg.
TIMM_SWIN: KeyMap = (
    *_BLOCKS,
    *((rf"layers\.{i + 1}\.downsample\.(.+)", rf"stages.{i}.downsample.\1") for i in range(3)),
)


def unfold_order(parameter: Tensor) -> Tensor:
    """Reorder the 4·C inputs of a published patch merging as in mmseg.

    Args:
        parameter: Parameter of its norm, (4·C,), or its projection, (2·C, 4·C).

    Returns:
        A tensor of the same shape.
    """
    inputs = parameter.shape[-1]
    outer = parameter.shape[:-1]
    column_row_channel = parameter.reshape(*outer, 2, 2, inputs // 4)
    return column_row_channel.transpose(-3, -1).reshape(*outer, inputs)
