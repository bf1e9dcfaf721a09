"""The trunk that all our vision transformers share: embed, blocks, feature maps.

Paper: ViT, https://arxiv.org/abs/2010.11929.
Reference: parameter names and behaviour after timm ``models/vision_transformer.py``; argument names
after mmsegmentation ``mmseg/models/backbones/vit.py``.
Deviations: any input size, also rectangular; blocks may mix attention heads; ``out_indices`` in
any order and negative; blocks behind the last output are not run; ``norm_eval`` and frozen stages
keep BatchNorm statistics (mmseg's ``norm_eval`` concerns LayerNorm, where it does nothing); with
``map_tokens``, mixes and norms of attention maps hold for any number of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, initialize
from mmseg.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from ..attention import HeadMixingAttention
from ..checkpoints import Normalization
from .arguments import check_choice, check_range, check_rate, normalize_out_indices, pair
from .block import Block, is_batch_norm, recompute_in_backward
from .embed import ConvStem, Grid, PatchEmbed, resize_pos_embed
from .initialization import MIX_INITS, initialize_from_scratch
from .map_means import MapMeanCheck
from .map_settings import MapSettings

STEMS: dict[str, type[PatchEmbed]] = {"linear": PatchEmbed, "conv": ConvStem}

#: Under which name mmseg's registry has what loads weights into a trunk: a floor above this one.
TRUNK_LOADER = "PretrainedTrunk"


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
        num_register_tokens: Learned tokens without a position that run along behind the class
            token (DINOv2's registers, a distilled DeiT's distillation token).
        residual_scale: a in x + f(norm(a·x)) / a.
        layer_scale_init: Start of the learned factor of each channel behind attention and MLP
            (LayerScale); None for none.
        num_mixing_layers: How many of the last blocks mix heads; None for all. The others are
            plain attention.
        pre_mix: Whether mixing blocks mix logits before the softmax.
        post_mix: Whether mixing blocks mix probabilities after it.
        mix_bias: Whether the mixes have a bias.
        mix_norm_cfg: Norm of the mixed maps: ``dict(type='BN' | 'SyncBN' | 'LN')`` or None.
        mix_scale: Factor of the mixed maps; None for (head width)^-½.
        map_tokens: Number of tokens that mixes and norms of the maps are for, or ``'img_size'`` for
            those of ``img_size``: images of other sizes then get maps that act alike (see
            :meth:`~mmseg_deepvit.attention.HeadMixingAttention.post_mix_of`), in training too.
            None is the published models, which need the training crop; a warning says where a
            BatchNorm shows that they do not have it.
        mix_init: How the mixes start from scratch: ``'uniform'`` (as a convolution),
            ``'trunc_normal'`` (deviation 0.02) or ``'identity'`` (no mixing).
        drop_rate: Dropout after position embedding, in MLPs and output projections, in [0, 1).
        attn_drop_rate: Dropout of attention maps, in [0, 1).
        attn_drop_position: ``'softmax'`` (before post mixing) or ``'mix'`` (after it).
        attn_backend: How mixing attention is computed: ``'auto'``, ``'explicit'``,
            ``'blockwise'`` or ``'fused'``; see
            :func:`~mmseg_deepvit.attention.functional.head_mixing_attention`.
        drop_path_rate: Stochastic depth of the last block, in [0, 1).
        drop_path_mode: ``'linear'`` (growing from 0 at the first block) or ``'constant'``.
        out_indices: Block or blocks whose tokens are returned, in this order; negative counts
            from the end.
        final_norm: Whether the last block's output passes the final LayerNorm.
        interpolate_mode: How position embeddings are resized, where weights of another grid are
            loaded and for images of another size: bicubic, bilinear or nearest.
        interpolate_antialias: Whether bicubic and bilinear resizing is antialiased. The published
            code of DeepViT, DiversePatch, CaiT and DeiT does without, timm and DINOv2 with
            registers do with it.
        frozen_stages: -1 freezes nothing, 0 the embedding, k also the first k blocks (and
            ``num_layers`` the final norm too).
        norm_eval: Whether BatchNorms keep their statistics in training. Those of attention maps
            belong to one number of tokens: keep it when you set this.
        with_cp: Whether blocks are recomputed in backward to save memory.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads a file as
            :func:`~mmseg_deepvit.weights.pretrained.load_pretrained` describes (further keys are
            passed on to it); other mmengine initialisers work as usual; None is truncated normal.

    Attributes:
        trained_input: The file that was loaded, and how the images were normalised that it was
            trained on or None; None where none was loaded.

    Raises:
        ValueError: A value outside what is said above; the message names it.
        TypeError: An argument that there is not; or ``out_indices`` is neither an integer nor a
            sequence of integers.
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
        qkv_bias: bool = True,
        stem: str = "linear",
        with_cls_token: bool = True,
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
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **maps: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.img_size = pair("img_size", img_size)
        self.patch_size = pair("patch_size", patch_size)
        check_choice("stem", stem, STEMS)
        check_choice("mix_init", mix_init, MIX_INITS)
        check_choice("interpolate_mode", interpolate_mode, ("bicubic", "bilinear", "nearest"))
        check_range("num_layers", num_layers, 1)
        check_range("num_register_tokens", num_register_tokens, 0)
        check_range("frozen_stages", frozen_stages, -1, num_layers)
        num_mixing_layers = num_layers if num_mixing_layers is None else num_mixing_layers
        check_range("num_mixing_layers", num_mixing_layers, 0, num_layers)
        check_rate("attn_drop_rate", attn_drop_rate)

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

        self.patch_embed = STEMS[stem](in_channels, embed_dims, self.patch_size)
        self._make_tokens(with_cls_token, num_register_tokens)
        self.pos_drop = nn.Dropout(drop_rate)
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
                embed_dims,
                mlp_ratio,
                residual_scale,
                layer_scale_init,
                drop=drop_rate,
                drop_path=rate,
            )
            for i, rate in enumerate(_drop_path_rates(drop_path_rate, drop_path_mode, num_layers))
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6) if final_norm else nn.Identity()
        self._check_map_means = MapMeanCheck()
        self._freeze()

    def _make_tokens(self, with_cls_token: bool, num_register_tokens: int) -> None:
        """Class token, registers and position embeddings, zero until ``init_weights``."""
        self.patch_grid: Grid = (
            math.ceil(self.img_size[0] / self.patch_size[0]),
            math.ceil(self.img_size[1] / self.patch_size[1]),
        )
        #: Tokens in front of the patches' tokens, and how many of them have a position.
        self.num_prefix_tokens = int(with_cls_token) + num_register_tokens
        self.num_prefix_positions = int(with_cls_token)

        self.cls_token = self._zeros(1) if with_cls_token else None
        self.reg_token = self._zeros(num_register_tokens) if num_register_tokens else None
        num_patches = self.patch_grid[0] * self.patch_grid[1]
        self.pos_embed = self._zeros(self.num_prefix_positions + num_patches)

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
        maps = {}
        for i, block in enumerate(self.blocks[: max(self.out_indices) + 1]):
            x = self._run(block, x)
            if i in self.out_indices:
                out = self.norm(x) if i == self.num_layers - 1 else x
                maps[i] = self._to_map(out, grid)
        return tuple(maps[i] for i in self.out_indices)

    def forward_features(self, x: Tensor) -> Tensor:
        """All tokens behind the last block and the final norm, as timm's models name it.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            (B, prefix + h·w, C): class token, registers, patches row by row.
        """
        return self.norm(self.run_blocks(x)[0])

    def run_blocks(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Images through all blocks; (B, prefix + h·w, C) tokens, not normalised, and the grid."""
        x, grid = self.embed(x)
        self._check_tokens(x)
        for block in self.blocks:
            x = self._run(block, x)
        return x, grid

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Tokens that enter the first block.

        Args:
            x: Normalised images, (B, in_channels, H, W).

        Returns:
            (B, prefix + h·w, C) tokens with positions, and the grid (h, w).
        """
        x, grid = self.patch_embed(x)
        count = self.num_prefix_positions
        pos_embed = resize_pos_embed(
            self.pos_embed,
            self.patch_grid,
            grid,
            count,
            self.interpolate_mode,
            self.interpolate_antialias,
        )
        tokens = [x + pos_embed[:, count:]]
        if self.reg_token is not None:
            tokens.insert(0, self.reg_token.expand(x.shape[0], -1, -1))
        if self.cls_token is not None and count:
            tokens.insert(0, (self.cls_token + pos_embed[:, :count]).expand(x.shape[0], -1, -1))
        x = torch.cat(tokens, dim=1) if len(tokens) > 1 else tokens[0]
        return self.pos_drop(x), grid

    def _check_tokens(self, x: Tensor) -> None:
        """Warn, in evaluation, where the maps' BatchNorms are of another number of tokens."""
        if not self.training:
            self._check_map_means(self.blocks, x.shape[1])

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        return recompute_in_backward(block, x) if self._recompute() else block(x)

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
            tokens = (self.pos_embed, self.cls_token, self.reg_token)
            initialize_from_scratch(self, tokens, self.mix_init)
        load = WEIGHT_INITIALIZERS.module_dict[TRUNK_LOADER]
        for cfg in pretrained:
            load(self, **{k: v for k, v in cfg.items() if k != "type"})
        self.is_init = True

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
            for tokens in (self.pos_embed, self.cls_token, self.reg_token):
                if tokens is not None:
                    tokens.requires_grad_(False)


def _drop_path_rates(rate: float, mode: str, num_layers: int) -> list[float]:
    check_rate("drop_path_rate", rate)
    check_choice("drop_path_mode", mode, ("linear", "constant"))
    if mode == "constant":
        return [rate] * num_layers
    return [rate * i / max(num_layers - 1, 1) for i in range(num_layers)]
