"""DiversePatch ViT: attention heads are mixed before and after the softmax.

Paper: Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
Reference: ChengyueGongR/PatchVisionTransformer, for the sizes alone: it has no licence.
Deviations: feature maps in place of a classifier. The diversity losses are in
:mod:`mmseg_deepvit.diversity` and work with any backbone.
"""

from __future__ import annotations

from typing import Any

from mmseg.registry import MODELS

from .arguments import settings_of
from .vit import ViTTrunk

_MIXING = dict(
    mlp_ratio=4,
    qkv_bias=True,
    pre_mix=True,
    post_mix=True,
    mix_bias=False,
    mix_init="trunc_normal",
)
_S = dict(_MIXING, embed_dims=384, num_heads=6)
_B = dict(_MIXING, embed_dims=768, num_heads=12)

#: Arguments of the published architectures.
ARCHS: dict[str, dict[str, Any]] = {
    "diversepatch-t": dict(_MIXING, embed_dims=192, num_heads=3, num_layers=12),
    "diversepatch-s": dict(_S, num_layers=12),
    "diversepatch-s24": dict(_S, num_layers=24),
    "diversepatch-s48": dict(_S, num_layers=48),
    "diversepatch-b": dict(_B, num_layers=12),
    "diversepatch-b24": dict(_B, num_layers=24),
    "diversepatch-b48": dict(_B, num_layers=48),
    # Published without mixing.
    "diversepatch-l": dict(
        _MIXING, embed_dims=1024, num_heads=16, num_layers=24, num_mixing_layers=0
    ),
}


@MODELS.register_module()
class DiversePatchViT(ViTTrunk):
    """DiversePatch ViT backbone (talking heads without bias).

    Args:
        arch: Name of a published architecture (``'diversepatch-t'``, ``'-s'``, ``'-s24'``,
            ``'-s48'``, ``'-b'``, ``'-b24'``, ``'-b48'``, ``'-l'``); or ``'timm://NAME'``, a plain
            transformer of timm whose blocks mix heads as DiversePatch's; or a dict of the trunk's
            arguments that override DiversePatch's defaults. The dict gives ``embed_dims``,
            ``num_layers`` and ``num_heads``.
        **overrides: Arguments of :class:`~mmseg_deepvit.backbones.vit.ViTTrunk` that override the
            architecture's values.

    Raises:
        ValueError: ``arch`` is unknown or lacks a size, or the trunk refuses a value.
        TypeError: The trunk has no argument of this name.

    Example:
        >>> import torch
        >>> model = DiversePatchViT('diversepatch-s24', out_indices=(5, 11, 17, 23))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 224, 320))][0]
        (1, 384, 14, 20)
    """

    def __init__(self, arch: str | dict[str, Any] = "diversepatch-b", **overrides: Any) -> None:
        super().__init__(**settings_of(arch, ARCHS, _MIXING, overrides))
