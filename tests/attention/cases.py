"""Calls of head-mixing attention, and comparisons of two backends."""

import copy

import torch
from torch import nn

from mmseg_deepvit.command_line.benchmark import relative_error

from .reference import blockwise_head_mixing_attention, explicit_head_mixing_attention

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
MIXES = {
    "post": ("post",),
    "pre": ("pre",),
    "both": ("pre", "post"),
}
NORMS = {
    "none": lambda heads: None,
    "batch": nn.BatchNorm2d,
    "batch in eval": lambda heads: nn.BatchNorm2d(heads).eval(),
    "batch without parameters": lambda heads: nn.BatchNorm2d(heads, affine=False),
    "batch without statistics": lambda heads: nn.BatchNorm2d(heads, track_running_stats=False),
    "batch, cumulative": lambda heads: nn.BatchNorm2d(heads, momentum=None),
    "layer": nn.LayerNorm,
    "layer without parameters": lambda heads: nn.LayerNorm(heads, elementwise_affine=False),
}
SHAPES = [
    (2, 3, 7, 5),
    (1, 1, 40, 32),
    (1, 12, 70, 33),
    (1, 4, 197, 48),
    (3, 6, 50, 64),
    (1, 24, 61, 35),
]


def make_call(shape, mixes, dtype, bias=True, logits=1.0):
    """Make the arguments of a call; all tensors require gradients."""
    heads = shape[1]
    call = {name: torch.randn(shape) for name in "qkv"}
    call["q"] *= logits
    for name in mixes:
        call[f"{name}_weight"] = torch.randn(heads, heads) / heads**0.5
        if bias:
            call[f"{name}_bias"] = torch.randn(heads)
    return {k: t.to(dtype).requires_grad_() for k, t in call.items()}


def make_norm(name, heads, dtype):
    norm = NORMS[name](heads)
    if norm is None:
        return None
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    if getattr(norm, "running_mean", None) is not None:
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.1, 1)
    return norm.to(dtype)


def run(function, call, norm, **options):
    """Return output, gradients by name, and buffers of the norm after the call."""
    norm = copy.deepcopy(norm)
    call = {k: t.detach().clone().requires_grad_() for k, t in call.items()}
    out = function(**call, map_norm=norm, **options)
    tensors = {**call, **(dict(norm.named_parameters()) if norm else {})}
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).sin().view_as(out)
    grads = torch.autograd.grad(out, list(tensors.values()), upstream.to(out))
    buffers = dict(norm.named_buffers()) if norm else {}
    return {"output": out.detach(), **dict(zip(tensors, grads, strict=True)), **buffers}


def assert_same(ours, exact, tolerance, explicit=None):
    """Compare by the largest difference over the largest value; tiny values count as zero.

    ``explicit`` are results of the explicit backend in the same precision. Errors of up to twice
    theirs are allowed, because some gradients are small differences of large numbers.
    """
    assert ours.keys() == exact.keys()
    for name, expected in exact.items():
        zero = 1e-6 if name in ("pre_bias", "post_bias") else 1e-8
        if expected.abs().max() < zero:
            assert ours[name].abs().max() < max(tolerance, zero), name
            continue
        allowed = tolerance
        if explicit is not None:
            allowed = max(tolerance, 2 * relative_error(explicit[name], expected))
        error = relative_error(ours[name], expected)
        assert error <= allowed, f"{name}: {error:.1e}, allowed {allowed:.1e}"


def halve(call, dtype):
    """Round queries, keys and values to half precision; return the call also in float64."""
    halved = {k: t.detach().to(dtype) if k in ("q", "k", "v") else t for k, t in call.items()}
    return halved, {k: t.detach().double() for k, t in halved.items()}


def assert_as_exact_as_explicit(
    call, norm, block_rows=(None,), attend=blockwise_head_mixing_attention, **options
):
    """Compare outputs, every gradient and running statistics with float64."""
    exact_call = {k: t.double() for k, t in call.items()}
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, **options)
    explicit = run(explicit_head_mixing_attention, call, norm, **options)
    for rows in block_rows:
        ours = run(attend, call, norm, block_rows=rows, **options)
        assert_same(ours, exact, TOLERANCE[call["q"].dtype], explicit)
