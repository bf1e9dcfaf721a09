"""CaiT: talking heads and LayerScale, then class-attention.

Paper: Going deeper with Image Transformers, https://arxiv.org/abs/2103.17239; talking heads:
https://arxiv.org/abs/2003.02436.
Reference: facebookresearch/deit (Apache-2.0); timm ``models/cait.py``.
Deviations: feature maps in place of a classifier; class-attention is optional, since the patch
tokens never see the class token; the LayerScale factors are ``ls1.gamma`` and ``ls2.gamma``.
"""

from __future__ import annotations

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from .arguments import settings_of
from .class_attention import ClassBlock
from .vit import ViTTrunk

_TALKING_HEADS = dict(
    mlp_ratio=4,
    qkv_bias=True,
    with_cls_token=False,
    pre_mix=True,
    post_mix=True,
    mix_bias=True,
    mix_init="trunc_normal",
    attn_drop_position="mix",
    layer_scale_init=1e-5,
    drop_path_mode="constant",
)
_XXS = dict(_TALKING_HEADS, embed_dims=192, num_heads=4)
_S = dict(_TALKING_HEADS, embed_dims=384, num_heads=8)
_M = dict(_TALKING_HEADS, embed_dims=768, num_heads=16, layer_scale_init=1e-6)

#: Arguments of the published architectures. Any of them takes any image size.
ARCHS: dict[str, dict[str, Any]] = {
    "cait-xxs24": dict(_XXS, num_layers=24),
    "cait-xxs36": dict(_XXS, num_layers=36),
    "cait-xs24": dict(_TALKING_HEADS, embed_dims=288, num_heads=6, num_layers=24),
    "cait-s24": dict(_S, num_layers=24),
    "cait-s36": dict(_S, num_layers=36, layer_scale_init=1e-6),
    "cait-m36": dict(_M, num_layers=36),
    "cait-m48": dict(_M, num_layers=48),
}


@MODELS.register_module()
class CaiT(ViTTrunk):
    """CaiT backbone (talking heads, LayerScale).

    Args:
        arch: Name of a published architecture (``'cait-xxs24'``, ``'-xxs36'``, ``'-xs24'``,
            ``'-s24'``, ``'-s36'``, ``'-m36'``, ``'-m48'``); or ``'timm://NAME'``, a model of timm;
            or a dict of the trunk's arguments that override CaiT's defaults. The dict gives
            ``embed_dims``, ``num_layers`` and ``num_heads``.
        with_cls_blocks: Whether the model has the two class-attention blocks. Feature maps do not
            depend on them: ``forward`` does not run them, and they are frozen until
            ``requires_grad_`` is called. :meth:`forward_features` runs them.
        **overrides: Arguments of :class:`~mmseg_deepvit.backbones.vit.ViTTrunk` that override the
            architecture's values.

    Raises:
        ValueError: ``arch`` is unknown or lacks a size, or the trunk refuses a value.
        TypeError: The trunk has no argument of this name.

    Example:
        >>> model = CaiT('cait-xxs24', out_indices=(5, 11, 17, 23))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 224, 320))][0]
        (1, 192, 14, 20)
    """

    num_cls_blocks = 2

    def __init__(
        self,
        arch: str | dict[str, Any] = "cait-s24",
        with_cls_blocks: bool = False,
        **overrides: Any,
    ) -> None:
        settings = settings_of(arch, ARCHS, _TALKING_HEADS, overrides)
        super().__init__(**settings)
        self.blocks_token_only: nn.ModuleList | None = None
        if with_cls_blocks:
            self._add_cls_blocks(settings)

    def _add_cls_blocks(self, settings: dict[str, Any]) -> None:
        if settings["with_cls_token"]:
            raise ValueError("with_cls_blocks adds a class token; set with_cls_token=False")
        self.cls_token = self._zeros(1)
        self.cls_token.requires_grad_(False)
        self.blocks_token_only = nn.ModuleList(
            ClassBlock(
                self.embed_dims,
                settings["num_heads"],
                mlp_ratio=4,
                qkv_bias=settings["qkv_bias"],
                layer_scale_init=settings["layer_scale_init"],
            )
            for _ in range(self.num_cls_blocks)
        ).requires_grad_(False)

    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens after the last block and the final norm, as in timm.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            Patch tokens row by row, (B, h·w, C); with class blocks (B, 1 + h·w, C), the class token
            first.
        """
        if self.blocks_token_only is None or self.cls_token is None:
            return super().forward_features(x)
        patches, _ = self.run_blocks(x)
        cls_token = self.cls_token.expand(x.shape[0], -1, -1)
        for block in self.blocks_token_only:
            cls_token = block(cls_token, patches)
        tokens: Tensor = self.norm(torch.cat([cls_token, patches], dim=1))
        return tokens
