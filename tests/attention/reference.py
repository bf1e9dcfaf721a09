"""Backends by name, and a reference of attention and norms that shares no code with them."""

from functools import partial

import torch

from mmseg_deepvit.attention import head_mixing_attention

explicit_head_mixing_attention = partial(head_mixing_attention, backend="explicit")
blockwise_head_mixing_attention = partial(head_mixing_attention, backend="blockwise")
native_head_mixing_attention = partial(head_mixing_attention, backend="native")
fused_head_mixing_attention = partial(head_mixing_attention, backend="fused")


def batch_norm_by_hand(maps, weight, bias, eps=1e-5):
    """Normalise each head over batch, rows and columns; also return mean and unbiased variance."""
    heads = maps.shape[1]
    flat = maps.transpose(0, 1).reshape(heads, -1)
    mean = flat.sum(1) / flat.shape[1]
    biased = ((flat - mean[:, None]) ** 2).sum(1) / flat.shape[1]
    unbiased = biased * flat.shape[1] / max(flat.shape[1] - 1, 1)
    out = (flat - mean[:, None]) / torch.sqrt(biased + eps)[:, None] * weight[:, None]
    out = (out + bias[:, None]).reshape(heads, maps.shape[0], *maps.shape[2:]).transpose(0, 1)
    return out, mean, unbiased


def layer_norm_by_hand(maps, weight, bias, eps=1e-5):
    """Normalise across the heads of each entry."""
    mean = maps.mean(1, keepdim=True)
    variance = ((maps - mean) ** 2).mean(1, keepdim=True)
    normal = (maps - mean) / torch.sqrt(variance + eps)
    return normal * weight[None, :, None, None] + bias[None, :, None, None]


def mix_by_hand(maps, weight, bias):
    """Make each head a weighted sum of all heads."""
    heads = []
    for h in range(maps.shape[1]):
        mixed = sum(weight[h, g] * maps[:, g] for g in range(maps.shape[1]))
        heads.append(mixed if bias is None else mixed + bias[h])
    return torch.stack(heads, dim=1)


def attention_by_hand(
    q,
    k,
    v,
    scale,
    pre_weight=None,
    pre_bias=None,
    post_weight=None,
    post_bias=None,
    norm=None,
    mix_scale=1.0,
    mask_p=None,
    mask_a=None,
):
    """Compute the papers' equations; masks multiply P and A."""
    logits = scale * torch.einsum("bhnd,bhmd->bhnm", q, k)
    if pre_weight is not None:
        logits = mix_by_hand(logits, pre_weight, pre_bias)
    exps = torch.exp(logits - logits.amax(-1, keepdim=True))
    maps = exps / exps.sum(-1, keepdim=True)
    if mask_p is not None:
        maps = maps * mask_p
    if post_weight is not None:
        maps = mix_by_hand(maps, post_weight, post_bias)
    if norm is not None:
        maps = norm(maps)
    maps = maps * mix_scale
    if mask_a is not None:
        maps = maps * mask_a
    return torch.einsum("bhnm,bhmd->bhnd", maps, v)
