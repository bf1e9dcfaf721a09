"""The trunk of all our vision transformers: embedding, blocks, feature maps.

Paper: ViT, https://arxiv.org/abs/2010.11929.
Reference: timm ``models/vision_transformer.py`` (parameter names, behaviour); mmsegmentation
``mmseg/models/backbones/vit.py`` (argument names).
Deviations: images of any size; blocks may mix attention heads; ``out_indices`` may be negative and
in any order; blocks after the last output do not run; ``norm_eval`` and frozen stages keep the
statistics of BatchNorms (mmseg's ``norm_eval`` concerns LayerNorm, which has none).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from mmseg.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from ..attention import HeadMixingAttention, Rotation
from ..checkpoints import Normalization
from .arguments import (
    check_choice,
    check_names,
    check_range,
    check_rate,
    normalize_out_indices,
    pair,
)
from .block import Block, is_batch_norm, recompute_in_backward
from .embed import ConvStem, Grid, PatchEmbed, resize_pos_embed
from .initialization import MIX_INITS, initialize_from_scratch
from .map_means import MapMeanCheck
from .map_settings import MapSettings
from .mlp import make_mlp
from .rotary import make_rotary

STEMS: dict[str, type[PatchEmbed]] = {"linear": PatchEmbed, "conv": ConvStem}

#: Name of the function that loads weights into a trunk, in mmseg's registry of initialisers. The
#: registry lets this room call ``weights``, which is a floor above.
TRUNK_LOADER = "PretrainedTrunk"


class ViTTrunk(BaseModule):
    """Vision transformer whose blocks may mix attention heads; the base of the backbones.

    Args:
        img_size: Height and width (or one number for both) of the position embeddings' grid, in
            pixels. For images of other sizes the embeddings are resized.
        patch_size: Height and width of a patch (or one number for both), in pixels.
        with_pos_embed: Whether tokens begin with a learned position embedding; only models with
            rotary positions may do without.
        rope: Rotary positions: the convention of ``'dinov3'``, ``'eva02'`` or ``'pe'`` (Perception
            Encoder), or a dict of it (``type``) and of settings that override it, see
            :class:`~mmseg_deepvit.backbones.rotary.RotaryPositions`; None for none.
        in_channels: Channels of the image.
        embed_dims: Width C of the tokens.
        num_layers: Number of blocks.
        num_heads: Number of attention heads; divides ``embed_dims``.
        mlp_ratio: Hidden width of the MLP over C.
        gated_mlp: Whether the MLP is gated (SwiGLU). Each of its two halves has the hidden width.
        mlp_norm: Whether the MLP has a LayerNorm before its second layer (EVA-02 B and L).
        norm_eps: ε of all LayerNorms.
        pre_norm: Whether tokens pass a LayerNorm before the first block (Perception Encoder).
        qkv_bias: Whether queries, keys and values have a bias.
        stem: Patch embedding: ``'linear'`` or ``'conv'`` (DeepViT's convolutional stem).
        with_cls_token: Whether there is a class token. It is not returned.
        num_register_tokens: Number of learned tokens without a position, after the class token
            (DINOv2's registers, the distillation token of DeiT).
        residual_scale: Factor a in x + f(norm(a·x)) / a.
        layer_scale_init: Initial value of LayerScale, a learned factor of each channel after
            attention and MLP; None for no LayerScale.
        num_mixing_layers: Number of blocks that mix heads, counted from the last; None for all. The
            others have plain attention.
        pre_mix: Whether mixing blocks mix logits before the softmax.
        post_mix: Whether mixing blocks mix probabilities after it.
        mix_bias: Whether the mixes have a bias. That of a post mix adds to each of a query's N
            probabilities; a norm cancels it, and without one its gradient drowns the others.
        mix_norm_cfg: Norm of the mixed maps: ``dict(type='BN' | 'SyncBN' | 'LN')`` or None.
        mix_scale: Factor of the mixed maps; None for (head width)^-½.
        map_tokens: Number of tokens of the training crop, or ``'img_size'`` for the number at
            ``img_size``. Mixes and norms then act alike on images of every size (see
            :meth:`~mmseg_deepvit.attention.HeadMixingAttention.post_mix_of`). With None, as
            published, they need images of the training crop; a warning tells where a BatchNorm
            shows another size.
        mix_init: Initialisation of the mixes: ``'uniform'`` (as a convolution), ``'trunc_normal'``
            (deviation 0.02) or ``'identity'`` (no mixing).
        drop_rate: Dropout after position embedding, in MLPs and output projections, in [0, 1).
        attn_drop_rate: Dropout of attention maps, in [0, 1).
        attn_drop_position: Place of that dropout: ``'softmax'`` (before post mixing) or ``'mix'``
            (after it).
        attn_backend: Implementation of mixing attention: ``'auto'``, ``'explicit'``,
            ``'blockwise'``, ``'native'`` or ``'fused'``; see
            :func:`~mmseg_deepvit.attention.functional.head_mixing_attention`.
        drop_path_rate: Stochastic depth of the last block, in [0, 1).
        drop_path_mode: Stochastic depth of the others: ``'linear'`` (0 at the first block) or
            ``'constant'``.
        out_indices: Block or blocks whose tokens are returned, in this order; negative indices
            count from the end.
        final_norm: Whether the last block's output passes the final LayerNorm.
        interpolate_mode: Interpolation of position embeddings, for weights of another grid and for
            images of another size: ``'bicubic'``, ``'bilinear'`` or ``'nearest'``.
        interpolate_antialias: Whether bicubic and bilinear resizing is antialiased. timm and DINOv2
            with registers do so; the published code of DeepViT, DiversePatch, CaiT and DeiT does
            not.
        frozen_stages: Number of frozen blocks, with the embedding; -1 freezes nothing, 0 the
            embedding alone. ``'all'``, or ``num_layers``, freezes the final norm too: the trunk
            then stays in evaluation, and keeps nothing for a backward pass unless the images need
            a gradient.
        norm_eval: Whether BatchNorms keep their statistics in training. Statistics of attention
            maps belong to one number of tokens, so do not change the crop then.
        with_cp: Whether blocks are recomputed in the backward pass, to save memory.
        init_cfg: Initialisation: ``dict(type='Pretrained', checkpoint=…)`` calls
            :func:`~mmseg_deepvit.weights.pretrained.load_pretrained`, with its other keys as
            arguments; mmengine's other initialisers work as usual; None is truncated normal.

    Attributes:
        trained_input: File that was loaded, and the normalisation of its training images (None
            where unknown); None where no file was loaded.

    Raises:
        ValueError: A value is outside its range; the message names it.
        TypeError: An argument is unknown, or ``out_indices`` is neither an integer nor a sequence
            of integers.
    """

    trained_input: tuple[str, Normalization | None] | None = None

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
        gated_mlp: bool = False,
        mlp_norm: bool = False,
        norm_eps: float = 1e-6,
        pre_norm: bool = False,
        qkv_bias: bool = True,
        stem: str = "linear",
        with_cls_token: bool = True,
        with_pos_embed: bool = True,
        rope: str | dict[str, Any] | None = None,
        num_register_tokens: int = 0,
        residual_scale: float = 1.0,
        layer_scale_init: float | None = None,
        num_mixing_layers: int | None = None,
        mix_init: str = "uniform",
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        attn_backend: str = "auto",
        drop_path_rate: float = 0.0,
        drop_path_mode: str = "linear",
        out_indices: int | Sequence[int] = -1,
        final_norm: bool = True,
        interpolate_mode: str = "bicubic",
        interpolate_antialias: bool = False,
        frozen_stages: int | str = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
        **maps: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_names(type(self).__name__, maps, _argument_names())
        self.img_size = pair("img_size", img_size)
        self.patch_size = pair("patch_size", patch_size)
        check_choice("stem", stem, STEMS)
        check_choice("mix_init", mix_init, MIX_INITS)
        check_choice("interpolate_mode", interpolate_mode, ("bicubic", "bilinear", "nearest"))
        check_range("num_layers", num_layers, 1)
        check_range("num_register_tokens", num_register_tokens, 0)
        if isinstance(frozen_stages, str):
            check_choice("frozen_stages", frozen_stages, ("all",))
            frozen_stages = num_layers
        check_range("frozen_stages", frozen_stages, -1, num_layers)
        num_mixing_layers = num_layers if num_mixing_layers is None else num_mixing_layers
        check_range("num_mixing_layers", num_mixing_layers, 0, num_layers)
        check_rate("attn_drop_rate", attn_drop_rate)
        if not with_pos_embed and rope is None:
            raise ValueError(
                "with_pos_embed=False leaves the model without positions; set rope, or "
                "with_pos_embed=True"
            )

        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.out_indices = normalize_out_indices(out_indices, num_layers)
        self.interpolate_mode = interpolate_mode
        self.interpolate_antialias = interpolate_antialias
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.mix_init = mix_init
        self.with_cp = with_cp
        self.norm_eps = norm_eps

        self.patch_embed = STEMS[stem](in_channels, embed_dims, self.patch_size)
        self._make_tokens(with_cls_token, num_register_tokens, with_pos_embed)
        self.rope = make_rotary(rope, embed_dims // num_heads, self.patch_grid, with_cls_token)
        self.pos_drop = nn.Dropout(drop_rate)
        self.norm_pre = nn.LayerNorm(embed_dims, eps=norm_eps) if pre_norm else nn.Identity()
        plain: dict[str, Any] = dict(
            embed_dims=embed_dims,
            num_heads=num_heads,
            qkv_bias=qkv_bias,
            attn_drop=attn_drop_rate,
            proj_drop=drop_rate,
            backend=attn_backend,
        )
        num_tokens = self.num_prefix_tokens + math.prod(self.patch_grid)
        mixing = {**plain, **MapSettings(**maps).arguments(num_tokens)}
        first_mixing = num_layers - num_mixing_layers
        self.blocks = nn.ModuleList(
            Block(
                HeadMixingAttention(**(mixing if i >= first_mixing else plain)),
                make_mlp(
                    embed_dims,
                    int(embed_dims * mlp_ratio),
                    gated_mlp,
                    mlp_norm,
                    norm_eps,
                    drop_rate,
                ),
                embed_dims,
                residual_scale,
                layer_scale_init,
                norm_eps,
                drop_path=rate,
            )
            for i, rate in enumerate(_drop_path_rates(drop_path_rate, drop_path_mode, num_layers))
        )
        self.norm = nn.LayerNorm(embed_dims, eps=norm_eps) if final_norm else nn.Identity()
        self._check_map_means = MapMeanCheck()
        self._freeze()

    def _make_tokens(
        self, with_cls_token: bool, num_register_tokens: int, with_pos_embed: bool
    ) -> None:
        """Class token, registers and position embeddings, zero until ``init_weights``."""
        self.patch_grid: Grid = (
            math.ceil(self.img_size[0] / self.patch_size[0]),
            math.ceil(self.img_size[1] / self.patch_size[1]),
        )
        self.with_cls_token = with_cls_token
        #: Number of tokens before those of the patches, and how many of them have a position.
        self.num_prefix_tokens = int(with_cls_token) + num_register_tokens
        self.num_prefix_positions = int(with_cls_token and with_pos_embed)

        self.cls_token = self._zeros(1) if with_cls_token else None
        self.reg_token = self._zeros(num_register_tokens) if num_register_tokens else None
        positions = self.num_prefix_positions + math.prod(self.patch_grid)
        self.pos_embed = self._zeros(positions) if with_pos_embed else None

    def _zeros(self, count: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(1, count, self.embed_dims))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of images of any size.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            One (B, C, ⌈H / patch⌉, ⌈W / patch⌉) map for each entry of ``out_indices``.
        """
        x, grid = self.embed(x)
        self._check_tokens(x)
        rotation = self._rotation(x, grid)
        maps = {}
        for i, block in enumerate(self.blocks[: max(self.out_indices) + 1]):
            x = self._run(block, x, rotation)
            if i in self.out_indices:
                out = self.norm(x) if i == self.num_layers - 1 else x
                maps[i] = self._to_map(out, grid)
        return tuple(maps[i] for i in self.out_indices)

    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens after the last block and the final norm, as in timm.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            (B, prefix + h·w, C): class token, registers, patches row by row.
        """
        tokens: Tensor = self.norm(self.run_blocks(x)[0])
        return tokens

    def run_blocks(self, x: Tensor) -> tuple[Tensor, Grid]:
        """All tokens after the last block, (B, prefix + h·w, C), not normalised, and the grid."""
        x, grid = self.embed(x)
        self._check_tokens(x)
        rotation = self._rotation(x, grid)
        for block in self.blocks:
            x = self._run(block, x, rotation)
        return x, grid

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Tokens that enter the first block.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            Tokens with positions, (B, prefix + h·w, C), and the grid (h, w) of the patches.
        """
        x, grid = self.patch_embed(x)
        prefix: list[Tensor] = []
        if self.cls_token is not None and self.with_cls_token:
            prefix.append(self.cls_token)
        if self.pos_embed is not None:
            count = self.num_prefix_positions
            positions = resize_pos_embed(
                self.pos_embed,
                self.patch_grid,
                grid,
                count,
                self.interpolate_mode,
                self.interpolate_antialias,
            )
            x = x + positions[:, count:]
            prefix = [token + positions[:, :count] for token in prefix]
        if self.reg_token is not None:
            prefix.append(self.reg_token)
        if prefix:
            x = torch.cat([*(token.expand(x.shape[0], -1, -1) for token in prefix), x], dim=1)
        return self.norm_pre(self.pos_drop(x)), grid

    def _check_tokens(self, x: Tensor) -> None:
        """Warn in evaluation where the maps' BatchNorms are of another number of tokens."""
        if not self.training:
            self._check_map_means(self.blocks, x.shape[1])

    def _rotation(self, x: Tensor, grid: Grid) -> Rotation | None:
        if self.rope is None:
            return None
        return self.rope(grid, self.embed_dims // self.num_heads, x)

    def _run(self, block: nn.Module, x: Tensor, rotation: Rotation | None) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return recompute_in_backward(block, x, rotation)
        y: Tensor = block(x, rotation)
        return y

    def _to_map(self, tokens: Tensor, grid: Grid) -> Tensor:
        maps: Tensor = tokens[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid)
        return maps.contiguous()

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says."""
        cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else list(self.init_cfg or [])
        pretrained = [cfg for cfg in cfgs if cfg.get("type") == "Pretrained"]
        others = [cfg for cfg in cfgs if cfg.get("type") != "Pretrained"]
        if others:
            initialize(self, others)
        else:
            tokens = (self.pos_embed, self.cls_token, self.reg_token)
            initialize_from_scratch(self, tokens, self.mix_init)
        load = WEIGHT_INITIALIZERS.module_dict[TRUNK_LOADER]
        for cfg in pretrained:
            load(self, **{k: v for k, v in cfg.items() if k != "type"})
        self.is_init = True

    def train(self, mode: bool = True) -> ViTTrunk:
        """Set the mode; frozen parts, and BatchNorms with ``norm_eval``, stay in evaluation."""
        super().train(mode and self.frozen_stages < self.num_layers)
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
        frozen = [self.patch_embed, self.pos_drop, self.norm_pre]
        frozen += self.blocks[: self.frozen_stages]
        return [*frozen, self.norm] if self.frozen_stages == self.num_layers else frozen

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.requires_grad_(False)
        if (last := max(self.out_indices)) < self.num_layers - 1:
            # They do not run and get no gradient; distributed training must know.
            self.blocks[last + 1 :].requires_grad_(False)
            self.norm.requires_grad_(False)
        if self.frozen_stages >= 0:
            for tokens in (self.pos_embed, self.cls_token, self.reg_token):
                if tokens is not None:
                    tokens.requires_grad_(False)


def _argument_names() -> list[str]:
    """Names of the trunk's arguments, the settings of attention maps included."""
    parameters = inspect.signature(ViTTrunk).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return named + [field.name for field in fields(MapSettings)]


def _drop_path_rates(rate: float, mode: str, num_layers: int) -> list[float]:
    check_rate("drop_path_rate", rate)
    check_choice("drop_path_mode", mode, ("linear", "constant"))
    if mode == "constant":
        return [rate] * num_layers
    return [rate * i / max(num_layers - 1, 1) for i in range(num_layers)]
