"""Cosine between the heads of consecutive blocks' attention maps: DeepViT-32B's regulariser.

Paper: DeepViT, https://arxiv.org/abs/2103.11886.
Reference: zhoudaquan/dvit_repo (MIT), whose model returns the maps of all blocks for it. The
formula is in the author's next repository, zhoudaquan/Refiner_ViT, ``loss/cross_entropy.py``:
signed cosines over the heads, first three blocks (two pairs), weight 0.1.
Deviations: maps are taken before any attention dropout (the recipe has none). No full map is built:
rows are computed in blocks, and again in the backward pass.

With A^[l] the map of block l that meets the values, (B, H, N, N), over p pairs of blocks

    L = 1/p Σ_l mean over images b and entries (i, j) of cos(A^[l]_{b,:,i,j}, A^[l+1]_{b,:,i,j})

where each vector has one number for each head. Cosines are signed: mixed maps of opposite sign give
the least value, -1; positive probabilities cannot go below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn import functional as differentiable
from torch.utils.checkpoint import checkpoint

from ..attention import HeadMixingAttention
from ..attention.explicit import mix_heads
from ..attention.map_norm import FoldedNorm, fold_norm
from ..tokens.attention_rows import at_least_fp32
from .cosine import block_rows_for

#: Smallest divisor of a vector over the heads, as in ``torch.nn.CosineSimilarity``.
LEAST_LENGTH = 1e-8

#: Attention layer, and its queries, keys and values, (B, H, N, d) each: results of ``split_heads``.
MapLayer = tuple[HeadMixingAttention, tuple[Tensor, Tensor, Tensor]]


def head_cosine_loss(layers: Sequence[MapLayer], block_rows: int | None = None) -> Tensor:
    """Average the cosine, over the heads, between the maps of consecutive layers.

    It takes O(B·N·(C + H·block_rows)) memory and does not change running statistics of BatchNorms.

    Args:
        layers: Two or more layers in their order, with equal numbers of heads and of tokens.
        block_rows: Number of query rows of the maps at a time; None chooses.

    Returns:
        Scalar in [-1, 1], at least fp32: the mean over pairs, images and entries of the maps.

    Raises:
        ValueError: There are fewer than two layers, their sizes differ, or ``block_rows`` is below
            1.
    """
    if len(layers) < 2:
        raise ValueError(
            f"the cosine of heads needs at least two attention layers, got {len(layers)}"
        )
    sizes = {tuple(q.shape[:3]) for _, (q, _, _) in layers}
    if len(sizes) > 1:
        raise ValueError(
            "maps of layers must have equal numbers of images, heads and tokens, got "
            + ", ".join(map(str, sorted(sizes)))
        )
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")
    batch, heads, tokens = sizes.pop()
    projected = [at_least_fp32(q, k) for _, (q, k, _) in layers]
    device, element = projected[0][0].device, projected[0][0].element_size()
    # Four blocks for each layer: the cosine and its gradient need copies of the maps.
    row_bytes = 4 * len(layers) * batch * heads * tokens * element
    size = block_rows or block_rows_for(row_bytes, device)
    blocks = [slice(start, start + size) for start in range(0, tokens, size)]
    with torch.autocast(device.type, enabled=False):
        maps = [
            _Maps.of(module, q, k, blocks)
            for (module, _), (q, k) in zip(layers, projected, strict=True)
        ]

        def cosines(rows: slice) -> Tensor:
            units = [_unit_over_heads(layer.rows(rows)).flatten() for layer in maps]
            return torch.stack([a @ b for a, b in pairwise(units)]).sum()

        total = torch.stack([_recomputed(cosines, rows) for rows in blocks]).sum()
        return total / ((len(layers) - 1) * batch * tokens**2)


def first_layers(backbone: nn.Module, count: int) -> list[HeadMixingAttention]:
    """Find the first ``count`` attention layers of a backbone whose maps can be compared.

    Raises:
        ValueError: The backbone has fewer.
    """
    layers = [m for m in backbone.modules() if isinstance(m, HeadMixingAttention)]
    if len(layers) < count:
        raise ValueError(
            f"{type(backbone).__name__} has {len(layers)} attention layers of mmseg_deepvit and "
            f"the cosine of heads compares {count}; take a DeepViT, DiversePatchViT or CaiT of "
            "more blocks, fewer head_pairs, or weight heads=0"
        )
    return layers[:count]


def _recomputed(function: Callable[[slice], Tensor], rows: slice) -> Tensor:
    """Call a function without keeping its activations; backward computes them again."""
    return checkpoint(function, rows, use_reentrant=False, preserve_rng_state=False)


@dataclass(frozen=True)
class _Maps:
    """The maps A of one layer, computed in blocks of query rows.

    Attributes:
        q: Queries, (B, H, N, d).
        k: Keys, (B, H, N, d).
        module: Attention layer with scale and pre mix.
        norm: Post mix and LayerNorm, with a BatchNorm folded in.
        offset: Number subtracted from P before it is mixed.
    """

    q: Tensor
    k: Tensor
    module: HeadMixingAttention
    norm: FoldedNorm
    offset: float = 0.0

    @classmethod
    def of(
        cls, module: HeadMixingAttention, q: Tensor, k: Tensor, blocks: Sequence[slice]
    ) -> _Maps:
        """Fold the layer's norm; batch statistics need one pass over the maps."""
        weight, scale = module.post_mix_of(q.shape[2])
        if module.post_mix is None or weight is None:
            return cls(q, k, module, FoldedNorm(None, None))  # cosines do not depend on the scale
        norm = fold_norm(weight, module.post_mix.bias, module.mix_norm, scale)
        if norm.kind != "batch":
            return cls(q, k, module, norm)
        offset = 1 / q.shape[2]
        centred = cls(q, k, module, FoldedNorm(None, None), offset)
        return cls(q, k, module, _fold_batch(norm, module.mix_norm, centred, blocks), offset)

    def rows(self, rows: slice) -> Tensor:
        """Compute A of some queries, (B, H, R, N)."""
        module, norm = self.module, self.norm
        logits = module.scale * (self.q[:, :, rows] @ self.k.transpose(-2, -1))
        if module.pre_mix is not None:
            logits = mix_heads(logits, module.pre_mix.weight, module.pre_mix.bias)
        maps = mix_heads(logits.softmax(-1) - self.offset, norm.post_weight, norm.post_bias)
        if norm.kind == "layer":
            # fold_norm has centred mix and bias over the heads.
            maps = maps * (maps.square().mean(1, keepdim=True) + norm.eps).rsqrt()
            assert norm.weight is not None
            assert norm.bias is not None
            maps = maps * _by_head(norm.weight, maps) + _by_head(norm.bias, maps)
        return maps

    def products(self, rows: slice) -> Tensor:
        """Sum the products between the heads' maps, (H, H), float64."""
        maps = self.rows(rows).transpose(0, 1).flatten(1)
        return (maps @ maps.t()).double()


def _unit_over_heads(maps: Tensor) -> Tensor:
    """Make a unit vector of the heads of each entry, (B, H, R, N), as ``CosineSimilarity`` does.

    ``linalg.vector_norm`` takes several times as long over a dimension that is not the last.
    """
    return maps * maps.square().sum(1, keepdim=True).clamp(min=LEAST_LENGTH**2).rsqrt()


def _by_head(values: Tensor, maps: Tensor) -> Tensor:
    return values.to(maps.dtype)[:, None, None]


def _fold_batch(
    norm: FoldedNorm, module: nn.Module | None, centred: _Maps, blocks: Sequence[slice]
) -> FoldedNorm:
    """Fold a BatchNorm's statistics of this batch into the mix of P - 1/N.

    Rows of P - 1/N sum to zero, so its products give the statistics
    (:mod:`mmseg_deepvit.attention.map_statistics`). Gradients flow through the statistics.
    """
    post, gamma, beta = (t for t in (norm.post_weight, norm.weight, norm.bias) if t is not None)
    batch, _, tokens, _ = centred.q.shape
    products = torch.stack([_recomputed(centred.products, rows) for rows in blocks]).sum(0)
    counts = products.new_tensor([batch, batch * tokens, batch * tokens**2])
    sums = torch.cat([counts, products.flatten()])
    if norm.group:
        group = getattr(module, "process_group", None) or dist.group.WORLD
        all_reduce: Any = differentiable.all_reduce  # PyTorch gives it no types
        sums = all_reduce(sums, group=group)
    images, all_rows, entries = sums[:3]
    mean = all_rows / entries  # mean of P; 1/N if all processes have the same N
    wide = post.double()
    row_sums = wide.sum(1)
    var = ((wide @ (sums[3:].view_as(wide) / entries)) * wide).sum(1)
    var = var + row_sums.square() * (images / entries - mean.square())
    factor = gamma.double() * (var + norm.eps).rsqrt()
    bias = beta.double() + factor * row_sums * (1 / tokens - mean)
    dtype = centred.q.dtype
    return FoldedNorm((factor[:, None] * wide).to(dtype), bias.to(dtype))
