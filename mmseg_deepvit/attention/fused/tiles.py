"""Functions of Triton programs for tiles of the maps of all heads of an image.

Shapes in a program have H heads, R query rows, C keys and chunks of W widths, see :class:`Plan`.
Entries outside the real heads, tokens and widths are loaded as zeros and get probabilities of zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import triton
import triton.language as tl


@dataclass(frozen=True)
class Plan:
    """Constants that are compiled into a program.

    Before Triton 3.8 a program sees them as plain numbers and words. ``tl.zeros`` does not take
    such numbers, and functions of programs do not take such words: ``tl.full`` and flags serve.

    Attributes:
        heads: Number of heads.
        width: Width of a head.
        H: Number of heads in a tile: ``heads``, rounded up to a power of two, at least 16, as
            tensor cores need.
        R: Number of query rows in a tile.
        C: Number of keys in a tile.
        W: Number of widths loaded at once. Wider heads have outputs in several chunks.
        pre: Whether logits are mixed.
        post: Whether probabilities are mixed.
        layer_norm: Whether a LayerNorm over heads follows the post mix.
        centred: Whether the mix acts on P − 1/N.
        coupled: Whether batch statistics add to the gradient of P.
        precision: Precision of products of maps, by its name in ``tl.dot``.
        precise: Precision of products of logits, whose errors the exponential magnifies.
        widen: Whether halves are multiplied as fp32; Triton's interpreter needs it for bf16.
    """

    heads: int
    width: int
    H: int
    R: int
    C: int
    W: int
    pre: bool
    post: bool
    layer_norm: bool
    centred: bool
    coupled: bool
    precision: str
    precise: str
    widen: bool


class Tokens(NamedTuple):
    """A (B, H, N, d) tensor with contiguous widths.

    Attributes:
        data: Tensor, or its address in a program.
        image: Stride of images.
        head: Stride of heads.
        row: Stride of tokens.
    """

    data: Any
    image: Any
    head: Any
    row: Any


class Maps(NamedTuple):
    """Arguments from which a program computes probabilities.

    Attributes:
        q: Queries, as :class:`Tokens`.
        k: Keys, as :class:`Tokens`.
        lse: Log-sum-exp of the rows of mixed logits, (B, H, N).
        pre: Mix of the logits, (heads, heads); any tensor if there is none.
        scale: Factor of the logits.
        tokens: Number N of tokens.
    """

    q: Any
    k: Any
    lse: Any
    pre: Any
    scale: Any
    tokens: Any


class Mixes(NamedTuple):
    """Mixes and norm of the probabilities; any tensor stands for one that a call lacks.

    Attributes:
        post: Mix, (heads, heads).
        norm_weight: Weight of the LayerNorm, (heads,).
        map_bias: Summand of the maps before the LayerNorm, (heads,).
        coupling: Coupling of batch statistics, (heads, heads); the gradient of P gains its product
            with P.
        eps: Summand of the LayerNorm's variance.
    """

    post: Any
    norm_weight: Any
    map_bias: Any
    coupling: Any
    eps: Any


@triton.jit
def row_offsets(x, image, first_row, first_width, S: tl.constexpr, R: tl.constexpr):
    """Compute the offsets of rows in memory, (H, R, W)."""
    heads = tl.arange(0, S.H)[:, None, None]
    rows = first_row + tl.arange(0, R)[None, :, None]
    widths = first_width + tl.arange(0, S.W)[None, None, :]
    return image.to(tl.int64) * x.image + heads * x.head + rows.to(tl.int64) * x.row + widths


@triton.jit
def rows_exist(first_row, first_width, tokens, S: tl.constexpr, R: tl.constexpr):
    """Tell which entries of rows exist, (H, R, W)."""
    heads = tl.arange(0, S.H)[:, None, None]
    rows = first_row + tl.arange(0, R)[None, :, None]
    widths = first_width + tl.arange(0, S.W)[None, None, :]
    return (heads < S.heads) & (rows < tokens) & (widths < S.width)


@triton.jit
def load_rows(x, image, first_row, first_width, tokens, S: tl.constexpr, R: tl.constexpr):
    """Load rows of an image, (H, R, W)."""
    offsets = row_offsets(x, image, first_row, first_width, S, R)
    exist = rows_exist(first_row, first_width, tokens, S, R)
    return tl.load(x.data + offsets, mask=exist, other=0.0)


@triton.jit
def store_rows(x, image, first_row, first_width, tokens, values, S: tl.constexpr, R: tl.constexpr):
    """Store rows of an image, (H, R, W)."""
    offsets = row_offsets(x, image, first_row, first_width, S, R)
    exist = rows_exist(first_row, first_width, tokens, S, R)
    tl.store(x.data + offsets, values.to(x.data.dtype.element_ty), mask=exist)


@triton.jit
def per_row_offsets(image, first_row, tokens, S: tl.constexpr):
    """Compute the offsets of one number for each row, (H, R)."""
    heads = tl.arange(0, S.H)[:, None]
    rows = first_row + tl.arange(0, S.R)[None, :]
    return (image.to(tl.int64) * S.heads + heads) * tokens + rows


@triton.jit
def per_row_exist(first_row, tokens, S: tl.constexpr):
    """Tell which rows exist, (H, R)."""
    heads = tl.arange(0, S.H)[:, None]
    rows = first_row + tl.arange(0, S.R)[None, :]
    return (heads < S.heads) & (rows < tokens)


@triton.jit
def load_per_row(base, image, first_row, tokens, other, S: tl.constexpr):
    """Load (H, R, 1) numbers of a contiguous (B, heads, N) tensor."""
    exist = per_row_exist(first_row, tokens, S)
    found = tl.load(base + per_row_offsets(image, first_row, tokens, S), mask=exist, other=other)
    return found[:, :, None]


@triton.jit
def store_per_row(base, image, first_row, tokens, values, S: tl.constexpr):
    """Store (H, R) numbers in a contiguous (B, heads, N) tensor."""
    exist = per_row_exist(first_row, tokens, S)
    tl.store(base + per_row_offsets(image, first_row, tokens, S), values, mask=exist)


@triton.jit
def load_mix(base, S: tl.constexpr, transposed: tl.constexpr):
    """Load a mix or its transpose, (H, H)."""
    rows = tl.arange(0, S.H)[:, None]
    columns = tl.arange(0, S.H)[None, :]
    exist = (rows < S.heads) & (columns < S.heads)
    offsets = columns * S.heads + rows if transposed else rows * S.heads + columns
    return tl.load(base + offsets, mask=exist, other=0.0)


@triton.jit
def store_mix(base, program, values, S: tl.constexpr):
    """Store a program's (H, H) share in a (programs, heads, heads) tensor."""
    rows = tl.arange(0, S.H)[:, None]
    columns = tl.arange(0, S.H)[None, :]
    exist = (rows < S.heads) & (columns < S.heads)
    offsets = (program.to(tl.int64) * S.heads + rows) * S.heads + columns
    tl.store(base + offsets, values, mask=exist)


@triton.jit
def load_heads(base, S: tl.constexpr):
    """Load a number for each head, (H, 1, 1)."""
    heads = tl.arange(0, S.H)
    return tl.load(base + heads, mask=heads < S.heads, other=0.0)[:, None, None]


@triton.jit
def store_heads(base, program, values, S: tl.constexpr):
    """Store a program's (H,) share in a (programs, heads) tensor."""
    heads = tl.arange(0, S.H)
    tl.store(base + program.to(tl.int64) * S.heads + heads, values, mask=heads < S.heads)


@triton.jit
def add_product(x, y, sums, S: tl.constexpr):
    """Add the products of two stacks of H matrices, in the dtype of the inputs, to fp32 sums."""
    if S.widen:
        x = x.to(tl.float32)
        y = y.to(tl.float32)
    return tl.dot(x, y, sums, input_precision=S.precise)


@triton.jit
def row_products(x, y, image, first_row, first_key, tokens, S: tl.constexpr):
    """Multiply rows of x by rows of y, (H, R, C)."""
    result = tl.full((S.H, S.R, S.C), 0.0, tl.float32)
    width: tl.constexpr = S.width
    chunk: tl.constexpr = S.W
    for first_width in tl.static_range(0, width, chunk):
        a = load_rows(x, image, first_row, first_width, tokens, S, S.R)
        b = load_rows(y, image, first_key, first_width, tokens, S, S.C)
        result = add_product(a, tl.permute(b, (0, 2, 1)), result, S)
    return result


@triton.jit
def mix(weight, maps, S: tl.constexpr, of_logits: tl.constexpr = False):
    """Multiply (H, H) weights by (H, R, C) maps."""
    precision: tl.constexpr = S.precise if of_logits else S.precision
    mixed = tl.dot(weight, tl.reshape(maps, (S.H, S.R * S.C)), input_precision=precision)
    return tl.reshape(mixed, (S.H, S.R, S.C))


@triton.jit
def add_head_products(x, y, sums, S: tl.constexpr):
    """Add the products of (H, R, C) maps of all pairs of heads to (H, H) sums over entries."""
    x = tl.reshape(x, (S.H, S.R * S.C))
    y = tl.permute(tl.reshape(y, (S.H, S.R * S.C)), (1, 0))
    return tl.dot(x, y, sums, input_precision=S.precision)


@triton.jit
def logits(maps, pre, image, first_row, first_key, S: tl.constexpr):
    """Compute (H, R, C) logits after the mix, with −∞ for keys that do not exist, and before it."""
    raw = row_products(maps.q, maps.k, image, first_row, first_key, maps.tokens, S) * maps.scale
    mixed = mix(pre, raw, S, True) if S.pre else raw
    keys = first_key + tl.arange(0, S.C)[None, None, :]
    return tl.where(keys < maps.tokens, mixed, float("-inf")), raw


@triton.jit
def load_pre(maps, S: tl.constexpr, transposed: tl.constexpr):
    """Load the pre mix; without one, return a number that no function reads."""
    return load_mix(maps.pre, S, transposed) if S.pre else 0.0


@triton.jit
def load_lse(maps, image, first_row, S: tl.constexpr):
    """Load (H, R, 1) log-sum-exps; ∞ gives missing rows and heads probabilities of zero."""
    return load_per_row(maps.lse, image, first_row, maps.tokens, float("inf"), S)


@triton.jit
def centre(probabilities, maps, S: tl.constexpr):
    """Subtract 1/N from P if the plan says so, because differences from 1/N are rounded less."""
    return probabilities - 1.0 / maps.tokens if S.centred else probabilities


@triton.jit
def normalize(mixed, mixes, S: tl.constexpr):
    """Apply a LayerNorm without weight over the heads of a mix that is centred.

    Returns:
        The normalised maps, (H, R, C), and the factors, (1, R, C).
    """
    mixed = mixed + load_heads(mixes.map_bias, S)
    factors = tl.rsqrt(tl.sum(mixed * mixed, 0) / S.heads + mixes.eps)[None]
    return mixed * factors, factors


@triton.jit
def final_maps(probabilities, post, mixes, maps, S: tl.constexpr):
    """Compute A without its bias from P."""
    result = centre(probabilities, maps, S)
    if S.post:
        result = mix(post, result, S)
    if S.layer_norm:
        normal, _ = normalize(result, mixes, S)
        result = normal * load_heads(mixes.norm_weight, S)
    return result


@triton.jit
def grad_mixed(grad, probabilities, post, mixes, maps, S: tl.constexpr):
    """Compute the gradient before the LayerNorm from that of A.

    Returns:
        The gradient, and each entry's share of the gradient of the norm's weight, both (H, R, C).
    """
    mixed = mix(post, centre(probabilities, maps, S), S)
    normal, factors = normalize(mixed, mixes, S)
    share = grad * normal
    grad = grad * load_heads(mixes.norm_weight, S)
    along = tl.sum(grad * normal, 0)[None] / S.heads
    mean = tl.sum(grad, 0)[None] / S.heads
    return (grad - mean - normal * along) * factors, share


@triton.jit
def grad_probabilities(grad, probabilities, to_probabilities, coupling, maps, S: tl.constexpr):
    """Compute the gradient of P from that of the mix, up to a constant that the softmax cancels."""
    if S.post:
        grad = mix(to_probabilities, grad, S)
    if S.coupled:
        grad += mix(coupling, centre(probabilities, maps, S), S)
    return grad
