"""Plain ViT: the trunk without mixing of heads; the baseline of the other backbones.

Paper: An Image is Worth 16x16 Words, https://arxiv.org/abs/2010.11929; the sizes Ti and S: DeiT,
https://arxiv.org/abs/2012.12877.
Reference: timm ``models/vision_transformer.py`` for architectures, names and behaviour.
Deviations: feature maps in place of a classifier.
"""

from __future__ import annotations

from typing import Any

from mmseg.registry import MODELS

from .arguments import settings_of
from .vit import ViTTrunk

_PLAIN = dict(mlp_ratio=4, qkv_bias=True, num_mixing_layers=0)
# timm's models resize position embeddings with antialiasing.
_PUBLISHED = dict(_PLAIN, patch_size=16, interpolate_antialias=True)
#: Arguments of the trunk that would mix heads.
_MIXING = ("num_mixing_layers", "pre_mix", "post_mix", "mix_norm_cfg")

#: The published architectures: arguments of the trunk.
ARCHS: dict[str, dict[str, Any]] = {
    "vit-tiny-patch16": dict(_PUBLISHED, embed_dims=192, num_heads=3, num_layers=12),
    "vit-small-patch16": dict(_PUBLISHED, embed_dims=384, num_heads=6, num_layers=12),
    "vit-base-patch16": dict(_PUBLISHED, embed_dims=768, num_heads=12, num_layers=12),
    "vit-large-patch16": dict(_PUBLISHED, embed_dims=1024, num_heads=16, num_layers=24),
}


@MODELS.register_module()
class PlainViT(ViTTrunk):
    """Plain vision transformer backbone.

    Args:
        arch: Name of a published architecture (``'vit-tiny-patch16'``, ``'vit-small-patch16'``,
            ``'vit-base-patch16'``, ``'vit-large-patch16'``); or ``'timm://NAME'``, any plain
            transformer of timm (DINOv3, EVA-02, Perception Encoder, …); or a dict of the trunk's
            arguments that override the ViT's defaults (mlp_ratio 4). The dict gives ``embed_dims``,
            ``num_layers`` and ``num_heads``.
        **overrides: Arguments of :class:`~mmseg_deepvit.backbones.vit.ViTTrunk` that override the
            architecture's values. ``map_tokens`` and other settings of mixed maps have no effect.

    Raises:
        ValueError: ``arch`` is unknown or lacks a size, an argument asks for mixing, or the trunk
            refuses a value.
        TypeError: The trunk has no argument of this name.

    Example:
        >>> import torch
        >>> model = PlainViT('vit-tiny-patch16', out_indices=(2, 5, 8, 11))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 224, 320))][0]
        (1, 192, 14, 20)
    """

    def __init__(self, arch: str | dict[str, Any] = "vit-base-patch16", **overrides: Any) -> None:
        settings = settings_of(arch, ARCHS, _PLAIN, overrides)
        for name in _MIXING:
            if settings.get(name):
                raise ValueError(
                    f"PlainViT mixes no heads, got {name}={settings[name]!r}; leave it out, or "
                    "take DeepViT, DiversePatchViT or CaiT"
                )
        super().__init__(**settings)
