"""The trunk that all our vision transformers share: embed, blocks, feature maps.

Paper: ViT, https://arxiv.org/abs/2010.11929.
Reference: parameter names and behaviour after timm ``models/vision_transformer.py``; argument names
after mmsegmentation ``mmseg/models/backbones/vit.py``.
Deviations: any input size, also rectangular; blocks may mix attention heads; ``out_indices`` in
any order and negative; blocks behind the last output are not run; ``norm_eval`` and frozen stages
keep BatchNorm statistics (mmseg's ``norm_eval`` concerns LayerNorm, where it does nothing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from timm.layers import to_2tuple
from torch import Tensor, nn

from ..attention import HeadMixingAttention
from .block import Block, is_batch_norm, recompute_in_backward
from .embed import ConvStem, Grid, PatchEmbed, resize_pos_embed
from .pretrained import load_pretrained

STEMS: dict[str, type[PatchEmbed]] = {"linear": PatchEmbed, "conv": ConvStem}


class ViTTrunk(BaseModule):
    """Vision transformer whose blocks may mix attention heads; the base of the backbones.

    Args:
        img_size: Height and width (or one number for both) that the position embeddings are made
            for, in pixels. Any other input size works: they are resized to its grid.
        patch_size: Height and width of a patch (or one number for both), in pixels.
        in_channels: Channels of the image.
        embed_dims: Width C of the tokens.
        num_layers: Number of blocks.
        num_heads: Attention heads; divides ``embed_dims``.
        mlp_ratio: Hidden width of the MLP over C.
        qkv_bias: Whether queries, keys and values have a bias.
        stem: ``'linear'`` (patches) or ``'conv'`` (DeepViT's convolutional stem).
        with_cls_token: Whether a class token runs along (it is not returned).
        residual_scale: a in x + f(norm(a·x)) / a.
        num_mixing_layers: How many of the last blocks mix heads; None for all. The others are
            plain attention.
        pre_mix: Whether mixing blocks mix logits before the softmax.
        post_mix: Whether mixing blocks mix probabilities after it.
        mix_bias: Whether the mixes have a bias.
        mix_norm_cfg: Norm of the mixed maps: ``dict(type='BN' | 'SyncBN' | 'LN')`` or None.
        mix_scale: Factor of the mixed maps; None for (head width)^-½.
        drop_rate: Dropout after position embedding, in MLPs and output projections, in [0, 1).
        attn_drop_rate: Dropout of attention maps, in [0, 1).
        attn_drop_position: ``'softmax'`` (before post mixing) or ``'mix'`` (after it).
        attn_backend: How mixing attention is computed: ``'auto'``, ``'explicit'`` or
            ``'blockwise'``; see
            :func:`~mmseg_deepvit.attention.functional.head_mixing_attention`.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0, in [0, 1).
        out_indices: Block or blocks whose tokens are returned, in this order; negative counts
            from the end.
        final_norm: Whether the last block's output passes the final LayerNorm.
        interpolate_mode: How position embeddings are resized: bicubic, bilinear or nearest.
        frozen_stages: -1 freezes nothing, 0 the embedding, k also the first k blocks (and
            ``num_layers`` the final norm too).
        norm_eval: Whether BatchNorms keep their statistics in training. Those of attention maps
            belong to one number of tokens: keep it when you set this.
        with_cp: Whether blocks are recomputed in backward to save memory.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads a file as
            :func:`~mmseg_deepvit.backbones.pretrained.load_pretrained` describes (further keys are
            passed on to it); other mmengine initialisers work as usual; None is truncated normal.

    Raises:
        ValueError: A value outside what is said above; the message names it.
        TypeError: ``out_indices`` is neither an integer nor a sequence of integers.
    """

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        in_channels: int = 3,
        embed_dims: int = 384,
        num_layers: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4,
        qkv_bias: bool = True,
        stem: str = "linear",
        with_cls_token: bool = True,
        residual_scale: float = 1.0,
        num_mixing_layers: int | None = None,
        pre_mix: bool = False,
        post_mix: bool = False,
        mix_bias: bool = True,
        mix_norm_cfg: dict | None = None,
        mix_scale: float | None = 1.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        attn_drop_position: str = "softmax",
        attn_backend: str = "auto",
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = -1,
        final_norm: bool = True,
        interpolate_mode: str = "bicubic",
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.img_size = _pair("img_size", img_size)
        self.patch_size = _pair("patch_size", patch_size)
        _check_choice("stem", stem, STEMS)
        _check_choice("interpolate_mode", interpolate_mode, ("bicubic", "bilinear", "nearest"))
        _check_range("num_layers", num_layers, 1)
        _check_range("frozen_stages", frozen_stages, -1, num_layers)
        num_mixing_layers = num_layers if num_mixing_layers is None else num_mixing_layers
        _check_range("num_mixing_layers", num_mixing_layers, 0, num_layers)
        for name, rate in (("attn_drop_rate", attn_drop_rate), ("drop_path_rate", drop_path_rate)):
            if not 0 <= rate < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {rate}")

        self.embed_dims = embed_dims
        self.num_layers = num_layers
        self.out_indices = _normalize_out_indices(out_indices, num_layers)
        self.interpolate_mode = interpolate_mode
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

        self.patch_embed = STEMS[stem](in_channels, embed_dims, self.patch_size)
        self._make_tokens(with_cls_token)
        self.pos_drop = nn.Dropout(drop_rate)
        attention: dict[str, Any] = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            attn_drop=attn_drop_rate,
            proj_drop=drop_rate,
            backend=attn_backend,
        )
        mixing: dict[str, Any] = dict(
            pre_mix=pre_mix,
            post_mix=post_mix,
            mix_bias=mix_bias,
            mix_norm_cfg=mix_norm_cfg,
            mix_scale=mix_scale,
            attn_drop_position=attn_drop_position,
        )
        first_mixing = num_layers - num_mixing_layers
        self.blocks = nn.ModuleList(
            Block(
                HeadMixingAttention(**attention, **(mixing if i >= first_mixing else {})),
                embed_dims,
                mlp_ratio,
                residual_scale,
                drop=drop_rate,
                drop_path=drop_path_rate * i / max(num_layers - 1, 1),
            )
            for i in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6) if final_norm else nn.Identity()
        self._freeze()

    def _make_tokens(self, with_cls_token: bool) -> None:
        """Class token and position embeddings, zero until ``init_weights``."""
        self.patch_grid: Grid = (
            math.ceil(self.img_size[0] / self.patch_size[0]),
            math.ceil(self.img_size[1] / self.patch_size[1]),
        )
        self.num_prefix_tokens = int(with_cls_token)
        dims = self.embed_dims
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims)) if with_cls_token else None
        num_positions = self.num_prefix_tokens + self.patch_grid[0] * self.patch_grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_positions, dims))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of images of any size.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            One (B, C, ⌈H / patch⌉, ⌈W / patch⌉) map for each entry of ``out_indices``.
        """
        x, grid = self.embed(x)
        maps = {}
        for i, block in enumerate(self.blocks[: max(self.out_indices) + 1]):
            x = recompute_in_backward(block, x) if self._recompute() else block(x)
            if i in self.out_indices:
                out = self.norm(x) if i == self.num_layers - 1 else x
                maps[i] = self._to_map(out, grid)
        return tuple(maps[i] for i in self.out_indices)

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Tokens that enter the first block.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            (B, prefix + h·w, C) tokens with positions, and the grid (h, w).
        """
        x, grid = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        pos_embed = resize_pos_embed(
            self.pos_embed, self.patch_grid, grid, self.num_prefix_tokens, self.interpolate_mode
        )
        return self.pos_drop(x + pos_embed), grid

    def _recompute(self) -> bool:
        return self.with_cp and torch.is_grad_enabled()

    def _to_map(self, tokens: Tensor, grid: Grid) -> Tensor:
        patches = tokens[:, self.num_prefix_tokens :]
        return patches.transpose(1, 2).unflatten(2, grid).contiguous()

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; see the class."""
        cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else list(self.init_cfg or [])
        pretrained = [cfg for cfg in cfgs if cfg.get("type") == "Pretrained"]
        others = [cfg for cfg in cfgs if cfg.get("type") != "Pretrained"]
        if others:
            initialize(self, others)
        else:
            self._init_from_scratch()
        for cfg in pretrained:
            load_pretrained(self, **{k: v for k, v in cfg.items() if k != "type"})
        self.is_init = True

    def _init_from_scratch(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        for name, module in self.named_modules():
            if name.endswith(("pre_mix", "post_mix", "patch_embed")):
                # A mix starts as the 1×1 convolution it is in the published code.
                for part in module.modules():
                    if hasattr(part, "reset_parameters"):
                        part.reset_parameters()
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def train(self, mode: bool = True) -> ViTTrunk:
        """Set training mode; frozen parts, and with ``norm_eval`` all BatchNorms, stay in eval."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if is_batch_norm(module):
                    module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        frozen = [self.patch_embed, self.pos_drop, *self.blocks[: self.frozen_stages]]
        return [*frozen, self.norm] if self.frozen_stages == self.num_layers else frozen

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.requires_grad_(False)
        if (last := max(self.out_indices)) < self.num_layers - 1:
            # Not run, so they get no gradient: distributed training wants them declared so.
            self.blocks[last + 1 :].requires_grad_(False)
            self.norm.requires_grad_(False)
        if self.frozen_stages >= 0:
            self.pos_embed.requires_grad_(False)
            if self.cls_token is not None:
                self.cls_token.requires_grad_(False)


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    pair = tuple(to_2tuple(value))
    if len(pair) != 2 or not all(isinstance(v, int) and v > 0 for v in pair):
        raise ValueError(f"{name} must be one or two positive integers, got {value!r}")
    return pair[0], pair[1]


def _check_choice(name: str, value: object, choices: Sequence | dict) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high}"
        raise ValueError(f"{name} must be at least {low}{upper}, got {value}")


def _normalize_out_indices(out_indices: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    indices = (out_indices,) if isinstance(out_indices, int) else out_indices
    if not isinstance(indices, Sequence) or not all(isinstance(i, int) for i in indices):
        raise TypeError(f"out_indices must be an integer or several, got {out_indices!r}")
    if not indices or not all(-num_layers <= i < num_layers for i in indices):
        raise ValueError(f"out_indices must name some of {num_layers} blocks, got {out_indices!r}")
    return tuple(i % num_layers for i in indices)
