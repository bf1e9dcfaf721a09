"""Pieces of Triton programs that work on tiles of the maps of all heads of an image at once.

Shapes inside a program, see :class:`Plan`: H heads, R query rows, C keys, widths in chunks of W.
What is beyond the real heads, tokens and widths is loaded as zeros, and probabilities are zero
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import triton
import triton.language as tl


@dataclass(frozen=True)
class Plan:
    """What is compiled into a program.

    Attributes:
        heads: Number of heads there are.
        width: Of a head.
        H: ``heads``, filled up to a power of two from 16 on, as tensor cores want it.
        R: Query rows of a tile.
        C: Keys of a tile.
        W: Widths loaded at once; outputs of wider heads are made chunk by chunk.
        pre: Whether logits are mixed.
        post: Whether probabilities are mixed.
        layer_norm: Whether a LayerNorm over heads follows the post mix.
        centred: Whether P less 1/N is mixed.
        coupled: Whether batch statistics add to the gradient of P.
        precision: Of products of maps, as ``tl.dot`` calls it.
        precise: Of products of logits, whose errors the exponential would magnify.
        widen: Whether halves are multiplied as fp32, which Triton's interpreter wants for bf16.
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
    """A (B, H, N, d) tensor whose widths lie side by side.

    Attributes:
        data: The tensor.
        image: Numbers from one image to the next.
        head: From one head to the next.
        row: From one token to the next.
    """

    data: Any
    image: Any
    head: Any
    row: Any


class Maps(NamedTuple):
    """What probabilities are made from.

    Attributes:
        q: Queries.
        k: Keys.
        lse: (B, H, N) log-sum-exp of the rows of mixed logits.
        pre: (heads, heads) mix of the logits; anything where there is none.
        scale: Factor of the logits.
        tokens: N.
    """

    q: Any
    k: Any
    lse: Any
    pre: Any
    scale: Any
    tokens: Any


class Mixes(NamedTuple):
    """What happens to probabilities; anything where there is none.

    Attributes:
        post: (heads, heads) mix.
        norm_weight: (heads,).
        map_bias: (heads,), added before the LayerNorm.
        coupling: (heads, heads): its product with P is added to the gradient of P.
        eps: Added to the LayerNorm's variance.
    """

    post: Any
    norm_weight: Any
    map_bias: Any
    coupling: Any
    eps: Any


@triton.jit
def row_offsets(x, image, first_row, first_width, S: tl.constexpr, R: tl.constexpr):
    """(H, R, W) places of rows in memory."""
    heads = tl.arange(0, S.H)[:, None, None]
    rows = first_row + tl.arange(0, R)[None, :, None]
    widths = first_width + tl.arange(0, S.W)[None, None, :]
    return image.to(tl.int64) * x.image + heads * x.head + rows.to(tl.int64) * x.row + widths


@triton.jit
def rows_there(first_row, first_width, tokens, S: tl.constexpr, R: tl.constexpr):
    """(H, R, W): which of them are there."""
    heads = tl.arange(0, S.H)[:, None, None]
    rows = first_row + tl.arange(0, R)[None, :, None]
    widths = first_width + tl.arange(0, S.W)[None, None, :]
    return (heads < S.heads) & (rows < tokens) & (widths < S.width)


@triton.jit
def load_rows(x, image, first_row, first_width, tokens, S: tl.constexpr, R: tl.constexpr):
    """(H, R, W) of an image's tokens."""
    offsets = row_offsets(x, image, first_row, first_width, S, R)
    there = rows_there(first_row, first_width, tokens, S, R)
    return tl.load(x.data + offsets, mask=there, other=0.0)


@triton.jit
def store_rows(x, image, first_row, first_width, tokens, values, S: tl.constexpr, R: tl.constexpr):
    """Write (H, R, W) into an image's tokens."""
    offsets = row_offsets(x, image, first_row, first_width, S, R)
    there = rows_there(first_row, first_width, tokens, S, R)
    tl.store(x.data + offsets, values.to(x.data.dtype.element_ty), mask=there)


@triton.jit
def per_row_offsets(image, first_row, tokens, S: tl.constexpr):
    """(H, R) places of numbers that each row has one of."""
    heads = tl.arange(0, S.H)[:, None]
    rows = first_row + tl.arange(0, S.R)[None, :]
    return (image.to(tl.int64) * S.heads + heads) * tokens + rows


@triton.jit
def per_row_there(first_row, tokens, S: tl.constexpr):
    """(H, R): which of them are there."""
    heads = tl.arange(0, S.H)[:, None]
    rows = first_row + tl.arange(0, S.R)[None, :]
    return (heads < S.heads) & (rows < tokens)


@triton.jit
def load_per_row(base, image, first_row, tokens, other, S: tl.constexpr):
    """(H, R, 1) of a contiguous (B, H, N) tensor."""
    there = per_row_there(first_row, tokens, S)
    found = tl.load(base + per_row_offsets(image, first_row, tokens, S), mask=there, other=other)
    return found[:, :, None]


@triton.jit
def store_per_row(base, image, first_row, tokens, values, S: tl.constexpr):
    """Write (H, R) into a contiguous (B, H, N) tensor."""
    there = per_row_there(first_row, tokens, S)
    tl.store(base + per_row_offsets(image, first_row, tokens, S), values, mask=there)


@triton.jit
def load_mix(base, S: tl.constexpr, transposed: tl.constexpr):
    """A mix or its transpose, (H, H)."""
    rows = tl.arange(0, S.H)[:, None]
    columns = tl.arange(0, S.H)[None, :]
    there = (rows < S.heads) & (columns < S.heads)
    offsets = columns * S.heads + rows if transposed else rows * S.heads + columns
    return tl.load(base + offsets, mask=there, other=0.0)


@triton.jit
def store_mix(base, program, values, S: tl.constexpr):
    """Write (H, H) as a program's entry of a (programs, heads, heads) tensor."""
    rows = tl.arange(0, S.H)[:, None]
    columns = tl.arange(0, S.H)[None, :]
    there = (rows < S.heads) & (columns < S.heads)
    offsets = (program.to(tl.int64) * S.heads + rows) * S.heads + columns
    tl.store(base + offsets, values, mask=there)


@triton.jit
def load_heads(base, S: tl.constexpr):
    """A number for each head, (H, 1, 1)."""
    heads = tl.arange(0, S.H)
    return tl.load(base + heads, mask=heads < S.heads, other=0.0)[:, None, None]


@triton.jit
def store_heads(base, program, values, S: tl.constexpr):
    """Write (H,) as a program's entry of a (programs, heads) tensor."""
    heads = tl.arange(0, S.H)
    tl.store(base + program.to(tl.int64) * S.heads + heads, values, mask=heads < S.heads)


@triton.jit
def add_product(x, y, sums, S: tl.constexpr):
    """Add the products of two stacks of H matrices, each of the inputs' dtype, to fp32 sums."""
    if S.widen:
        x = x.to(tl.float32)
        y = y.to(tl.float32)
    return tl.dot(x, y, sums, input_precision=S.precise)


@triton.jit
def row_products(x, y, image, first_row, first_key, tokens, S: tl.constexpr):
    """(H, R, C) products of rows of x with rows of y."""
    result = tl.zeros((S.H, S.R, S.C), tl.float32)
    width: tl.constexpr = S.width
    chunk: tl.constexpr = S.W
    for first_width in tl.static_range(0, width, chunk):
        a = load_rows(x, image, first_row, first_width, tokens, S, S.R)
        b = load_rows(y, image, first_key, first_width, tokens, S, S.C)
        result = add_product(a, tl.permute(b, (0, 2, 1)), result, S)
    return result


@triton.jit
def mix(weight, maps, S: tl.constexpr, precision: tl.constexpr):
    """(H, H) weights times (H, R, C) maps."""
    mixed = tl.dot(weight, tl.reshape(maps, (S.H, S.R * S.C)), input_precision=precision)
    return tl.reshape(mixed, (S.H, S.R, S.C))


@triton.jit
def add_head_products(x, y, sums, S: tl.constexpr):
    """Add products of (H, R, C) maps of any two heads, summed over the entries, to (H, H)."""
    x = tl.reshape(x, (S.H, S.R * S.C))
    y = tl.permute(tl.reshape(y, (S.H, S.R * S.C)), (1, 0))
    return tl.dot(x, y, sums, input_precision=S.precision)


@triton.jit
def logits(maps, pre, image, first_row, first_key, S: tl.constexpr):
    """(H, R, C) logits as the softmax has them, −∞ where there is no key; and before the mix."""
    raw = row_products(maps.q, maps.k, image, first_row, first_key, maps.tokens, S) * maps.scale
    mixed = mix(pre, raw, S, S.precise) if S.pre else raw
    keys = first_key + tl.arange(0, S.C)[None, None, :]
    return tl.where(keys < maps.tokens, mixed, float("-inf")), raw


@triton.jit
def load_pre(maps, S: tl.constexpr, transposed: tl.constexpr):
    """The pre mix; where there is none, a number that nothing reads."""
    return load_mix(maps.pre, S, transposed) if S.pre else 0.0


@triton.jit
def load_lse(maps, image, first_row, S: tl.constexpr):
    """(H, R, 1); where there is no row or head, what makes its probabilities zero."""
    return load_per_row(maps.lse, image, first_row, maps.tokens, float("inf"), S)


@triton.jit
def centre(probabilities, maps, S: tl.constexpr):
    """P less its mean where that is what is mixed: differences survive rounding better."""
    return probabilities - 1.0 / maps.tokens if S.centred else probabilities


@triton.jit
def normalize(mixed, mixes, S: tl.constexpr):
    """LayerNorm over the heads of a mix that is centred already, without its weight.

    Returns:
        (H, R, C) and the (1, R, C) factors it took.
    """
    mixed = mixed + load_heads(mixes.map_bias, S)
    factors = tl.rsqrt(tl.sum(mixed * mixed, 0) / S.heads + mixes.eps)[None]
    return mixed * factors, factors


@triton.jit
def final_maps(probabilities, post, mixes, maps, S: tl.constexpr):
    """A less its bias, from P."""
    result = centre(probabilities, maps, S)
    if S.post:
        result = mix(post, result, S, S.precision)
    if S.layer_norm:
        normal, _ = normalize(result, mixes, S)
        result = normal * load_heads(mixes.norm_weight, S)
    return result


@triton.jit
def grad_mixed(grad, probabilities, post, mixes, maps, S: tl.constexpr):
    """Through the LayerNorm: from the gradient of A to that of the mix.

    Returns:
        It, and each entry's share in the gradient of the norm's weight; both (H, R, C).
    """
    mixed = mix(post, centre(probabilities, maps, S), S, S.precision)
    normal, factors = normalize(mixed, mixes, S)
    share = grad * normal
    grad = grad * load_heads(mixes.norm_weight, S)
    along = tl.sum(grad * normal, 0)[None] / S.heads
    mean = tl.sum(grad, 0)[None] / S.heads
    return (grad - mean - normal * along) * factors, share


@triton.jit
def grad_probabilities(grad, probabilities, to_probabilities, coupling, maps, S: tl.constexpr):
    """From the gradient of the mix to that of P, but for what the softmax does not see."""
    if S.post:
        grad = mix(to_probabilities, grad, S, S.precision)
    if S.coupled:
        grad += mix(coupling, centre(probabilities, maps, S), S, S.precision)
    return grad
