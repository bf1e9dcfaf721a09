"""Triton programs, each for all heads of a block of query rows, or of keys, of one image.

Grids are (blocks, images), or (blocks, chunks of widths, images) for programs with outputs. Each
program stores its share of a sum, and the pass adds the shares in float64. Results repeat exactly,
because no sum is atomic.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .tiles import (
    add_head_products,
    add_product,
    centre,
    final_maps,
    grad_mixed,
    grad_probabilities,
    load_lse,
    load_mix,
    load_per_row,
    load_pre,
    load_rows,
    logits,
    mix,
    row_products,
    store_heads,
    store_mix,
    store_per_row,
    store_rows,
)


@triton.jit
def program(axis: tl.constexpr):
    """Number this program among those that store shares."""
    return tl.program_id(axis) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def row_sums(maps, S: tl.constexpr):
    """Compute the log-sum-exp of rows into ``maps.lse``."""
    image = tl.program_id(1)
    first_row = tl.program_id(0) * S.R
    pre = load_pre(maps, S, False)
    highest = tl.full((S.H, S.R), float("-inf"), tl.float32)
    sums = tl.full((S.H, S.R), 0.0, tl.float32)
    for first_key in range(0, maps.tokens, S.C):
        mixed, _ = logits(maps, pre, image, first_row, first_key, S)
        higher = tl.maximum(highest, tl.max(mixed, 2))
        sums = sums * tl.exp(highest - higher) + tl.sum(tl.exp(mixed - higher[:, :, None]), 2)
        highest = higher
    store_per_row(maps.lse, image, first_row, maps.tokens, highest + tl.log(sums), S)


@triton.jit
def moments(maps, shares, S: tl.constexpr):
    """Compute shares of Σ (P_g − 1/N)(P_h − 1/N), (programs, heads, heads)."""
    image = tl.program_id(1)
    first_row = tl.program_id(0) * S.R
    pre = load_pre(maps, S, False)
    lse = load_lse(maps, image, first_row, S)
    rows = first_row + tl.arange(0, S.R)[None, :, None]
    sums = tl.full((S.H, S.H), 0.0, tl.float32)
    for first_key in range(0, maps.tokens, S.C):
        mixed, _ = logits(maps, pre, image, first_row, first_key, S)
        keys = first_key + tl.arange(0, S.C)[None, None, :]
        exist = (rows < maps.tokens) & (keys < maps.tokens)
        entries = tl.where(exist, tl.exp(mixed - lse) - 1.0 / maps.tokens, 0.0)
        sums = add_head_products(entries, entries, sums, S)
    store_mix(shares, program(1), sums, S)


@triton.jit
def outputs(maps, mixes, v, shift, out, S: tl.constexpr):
    """Compute A V plus ``shift``, (B, heads, 1, width)."""
    image = tl.program_id(2)
    first_row = tl.program_id(0) * S.R
    first_width = tl.program_id(1) * S.W
    pre = load_pre(maps, S, False)
    post = load_mix(mixes.post, S, False) if S.post else 0.0
    lse = load_lse(maps, image, first_row, S)
    sums = tl.full((S.H, S.R, S.W), 0.0, tl.float32)
    for first_key in range(0, maps.tokens, S.C):
        mixed, _ = logits(maps, pre, image, first_row, first_key, S)
        final = final_maps(tl.exp(mixed - lse), post, mixes, maps, S)
        values = load_rows(v, image, first_key, first_width, maps.tokens, S, S.C)
        sums = add_product(final.to(values.dtype), values, sums, S)
    sums += load_rows(shift, image, 0, first_width, 1, S, 1)
    store_rows(out, image, first_row, first_width, maps.tokens, sums, S, S.R)


@triton.jit
def row_gradients(
    maps, mixes, v, grad, deltas, post_shares, weight_shares, bias_shares, S: tl.constexpr
):
    """Compute ``deltas``, Σ_j P dP of each row, (B, heads, N), and shares of the parameters."""
    image = tl.program_id(1)
    first_row = tl.program_id(0) * S.R
    pre = load_pre(maps, S, False)
    post = load_mix(mixes.post, S, False) if S.layer_norm else 0.0
    to_probabilities = load_mix(mixes.post, S, True) if S.post else 0.0
    coupling = load_mix(mixes.coupling, S, False) if S.coupled else 0.0
    lse = load_lse(maps, image, first_row, S)
    delta = tl.full((S.H, S.R), 0.0, tl.float32)
    post_sums = tl.full((S.H, S.H), 0.0, tl.float32)
    weight_sums = tl.full((S.H,), 0.0, tl.float32)
    bias_sums = tl.full((S.H,), 0.0, tl.float32)
    for first_key in range(0, maps.tokens, S.C):
        mixed, _ = logits(maps, pre, image, first_row, first_key, S)
        p = tl.exp(mixed - lse)
        g = row_products(grad, v, image, first_row, first_key, maps.tokens, S)
        if S.layer_norm:
            g, share = grad_mixed(g, p, post, mixes, maps, S)
            weight_sums += tl.sum(tl.sum(share, 2), 1)
            bias_sums += tl.sum(tl.sum(g, 2), 1)
        if S.post:
            post_sums = add_head_products(g, centre(p, maps, S), post_sums, S)
        g = grad_probabilities(g, p, to_probabilities, coupling, maps, S)
        delta += tl.sum(p * g, 2)
    store_per_row(deltas, image, first_row, maps.tokens, delta, S)
    if S.post:
        store_mix(post_shares, program(1), post_sums, S)
    if S.layer_norm:
        store_heads(weight_shares, program(1), weight_sums, S)
        store_heads(bias_shares, program(1), bias_sums, S)


@triton.jit
def query_gradients(maps, mixes, v, grad, deltas, grad_q, pre_shares, S: tl.constexpr):
    """Compute the gradient of the queries, and shares of that of the pre mix."""
    image = tl.program_id(2)
    first_row = tl.program_id(0) * S.R
    first_width = tl.program_id(1) * S.W
    pre = load_pre(maps, S, False)
    to_raw = load_pre(maps, S, True)
    post = load_mix(mixes.post, S, False) if S.layer_norm else 0.0
    to_probabilities = load_mix(mixes.post, S, True) if S.post else 0.0
    coupling = load_mix(mixes.coupling, S, False) if S.coupled else 0.0
    lse = load_lse(maps, image, first_row, S)
    delta = load_per_row(deltas, image, first_row, maps.tokens, 0.0, S)
    sums = tl.full((S.H, S.R, S.W), 0.0, tl.float32)
    pre_sums = tl.full((S.H, S.H), 0.0, tl.float32)
    for first_key in range(0, maps.tokens, S.C):
        mixed, raw = logits(maps, pre, image, first_row, first_key, S)
        p = tl.exp(mixed - lse)
        g = row_products(grad, v, image, first_row, first_key, maps.tokens, S)
        if S.layer_norm:
            g, _ = grad_mixed(g, p, post, mixes, maps, S)
        g = grad_probabilities(g, p, to_probabilities, coupling, maps, S)
        g = p * (g - delta)
        if S.pre:
            pre_sums = add_head_products(g, raw, pre_sums, S)
            g = mix(to_raw, g, S)
        keys = load_rows(maps.k, image, first_key, first_width, maps.tokens, S, S.C)
        sums = add_product(g.to(keys.dtype), keys, sums, S)
    store_rows(grad_q, image, first_row, first_width, maps.tokens, sums * maps.scale, S, S.R)
    if S.pre and first_width == 0:
        store_mix(pre_shares, program(2), pre_sums, S)


@triton.jit
def key_gradients(maps, mixes, v, grad, deltas, shift, grad_k, grad_v, S: tl.constexpr):
    """Compute the gradients of keys and values, the latter plus ``shift``, (B, heads, 1, width)."""
    image = tl.program_id(2)
    first_key = tl.program_id(0) * S.C
    first_width = tl.program_id(1) * S.W
    pre = load_pre(maps, S, False)
    to_raw = load_pre(maps, S, True)
    post = load_mix(mixes.post, S, False) if S.post else 0.0
    to_probabilities = load_mix(mixes.post, S, True) if S.post else 0.0
    coupling = load_mix(mixes.coupling, S, False) if S.coupled else 0.0
    key_sums = tl.full((S.H, S.C, S.W), 0.0, tl.float32)
    value_sums = tl.full((S.H, S.C, S.W), 0.0, tl.float32)
    for first_row in range(0, maps.tokens, S.R):
        lse = load_lse(maps, image, first_row, S)
        delta = load_per_row(deltas, image, first_row, maps.tokens, 0.0, S)
        mixed, _ = logits(maps, pre, image, first_row, first_key, S)
        p = tl.exp(mixed - lse)
        final = final_maps(p, post, mixes, maps, S)
        upstream = load_rows(grad, image, first_row, first_width, maps.tokens, S, S.R)
        final = tl.permute(final.to(upstream.dtype), (0, 2, 1))
        value_sums = add_product(final, upstream, value_sums, S)
        g = row_products(grad, v, image, first_row, first_key, maps.tokens, S)
        if S.layer_norm:
            g, _ = grad_mixed(g, p, post, mixes, maps, S)
        g = grad_probabilities(g, p, to_probabilities, coupling, maps, S)
        g = p * (g - delta)
        if S.pre:
            g = mix(to_raw, g, S)
        queries = load_rows(maps.q, image, first_row, first_width, maps.tokens, S, S.R)
        g = tl.permute(g.to(queries.dtype), (0, 2, 1))
        key_sums = add_product(g, queries, key_sums, S)
    value_sums += load_rows(shift, image, 0, first_width, 1, S, 1)
    store_rows(grad_k, image, first_key, first_width, maps.tokens, key_sums * maps.scale, S, S.C)
    store_rows(grad_v, image, first_key, first_width, maps.tokens, value_sums, S, S.C)
