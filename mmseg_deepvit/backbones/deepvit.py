"""DeepViT: a deep vision transformer whose attention maps are mixed across heads.

Paper: DeepViT: Towards Deeper Vision Transformer, https://arxiv.org/abs/2103.11886.
Reference: zhoudaquan/dvit_repo (MIT), ``models/deep_vision_transformer.py``.
Deviations: feature maps in place of a classifier.
"""

from __future__ import annotations

from typing import Any

from mmseg.registry import MODELS

from .arguments import settings_of
from .vit import ViTTrunk

_RE_ATTENTION = dict(
    num_heads=12,
    mlp_ratio=3,
    qkv_bias=True,
    post_mix=True,
    mix_bias=True,
    mix_norm_cfg=dict(type="BN"),
    attn_drop_position="softmax",
)
_S = dict(
    _RE_ATTENTION,
    embed_dims=396,
    num_layers=16,
    num_mixing_layers=5,
    stem="conv",
    residual_scale=0.5,
    mix_scale=None,
)
_L = dict(_S, embed_dims=420, num_layers=32, num_mixing_layers=12, mix_scale=1.0)

#: Arguments of the published architectures.
ARCHS: dict[str, dict[str, Any]] = {
    "deepvit-16b": dict(_RE_ATTENTION, embed_dims=384, num_layers=16),
    "deepvit-24b": dict(_RE_ATTENTION, embed_dims=384, num_layers=24),
    "deepvit-32b": dict(_RE_ATTENTION, embed_dims=384, num_layers=32),
    "deepvit-s": _S,
    "deepvit-l": _L,
    "deepvit-l-384": dict(_L, img_size=384),
}


@MODELS.register_module()
class DeepViT(ViTTrunk):
    """DeepViT backbone (Re-attention).

    Args:
        arch: Name of a published architecture (``'deepvit-16b'``, ``'-24b'``, ``'-32b'``, ``'-s'``,
            ``'-l'``, ``'-l-384'``); or ``'timm://NAME'``, a plain transformer of timm whose blocks
            mix heads as DeepViT's (to begin at its weights, see ``init_cfg``); or a dict of the
            trunk's arguments that override DeepViT's defaults (12 heads, mlp_ratio 3, Re-attention
            with BatchNorm in all blocks). The dict gives ``embed_dims`` and ``num_layers``.
        **overrides: Arguments of :class:`~mmseg_deepvit.backbones.vit.ViTTrunk` that override the
            architecture's values.

    Raises:
        ValueError: ``arch`` is unknown or lacks a size, or the trunk refuses a value.
        TypeError: The trunk has no argument of this name.

    Example:
        >>> import torch
        >>> model = DeepViT('deepvit-s', out_indices=(3, 7, 11, 15))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 224, 320))][0]
        (1, 396, 14, 20)
    """

    def __init__(self, arch: str | dict[str, Any] = "deepvit-s", **overrides: Any) -> None:
        super().__init__(**settings_of(arch, ARCHS, _RE_ATTENTION, overrides))
