"""Rotary positions against timm's, and with every way to compute attention."""

import pytest
import torch
from timm.layers import apply_rot_embed_cat
from torch import nn

from mmseg_deepvit.attention import HeadMixingAttention, Rotation, rotate
from mmseg_deepvit.attention.native import library

TOKENS, PREFIX, WIDTH = 11, 2, 8


def make_rotation(interleaved, dtype=torch.float64):
    angles = torch.randn(TOKENS - PREFIX, WIDTH // 2, dtype=dtype)
    return Rotation(angles.sin(), angles.cos(), interleaved)


def rotate_by_timm(x, rotation):
    """timm's function, which takes an angle for each channel, on the patches."""

    def each(t):
        return t.repeat_interleave(2, -1) if rotation.interleaved else torch.cat([t, t], -1)

    angles = torch.cat([each(rotation.sin), each(rotation.cos)], -1)
    patches = apply_rot_embed_cat(x[:, :, PREFIX:], angles, half=not rotation.interleaved)
    return torch.cat([x[:, :, :PREFIX], patches], 2)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotates_the_patches_as_timm_does(interleaved):
    x = torch.randn(2, 3, TOKENS, WIDTH, dtype=torch.float64)
    rotation = make_rotation(interleaved)
    torch.testing.assert_close(rotate(x, rotation), rotate_by_timm(x, rotation))
    half = rotate(x.half(), rotation)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), rotate(x, rotation), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("backend", "device"),
    [
        ("auto", "cpu"),
        ("explicit", "cpu"),
        ("blockwise", "cpu"),
        pytest.param(
            *("native", "cpu"),
            marks=pytest.mark.skipif(not library.AVAILABLE, reason="no C++ compiler at install"),
        ),
        pytest.param("fused", "cuda", marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize(
    "mix", [{}, dict(pre_mix=True, post_mix=True, mix_norm_cfg={"type": "BN"})]
)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_backend_attends_with_rotated_queries_and_keys(
    backend, device, mix, training, interleaved
):
    exact = HeadMixingAttention(3 * WIDTH, 3, **mix, backend="explicit").double().train(training)
    dtype = torch.float32 if backend in ("native", "fused") else torch.float64
    module = HeadMixingAttention(3 * WIDTH, 3, **mix, backend=backend).train(training)
    module.load_state_dict(exact.state_dict())
    module.to(device, dtype)
    x = torch.randn(2, TOKENS, 3 * WIDTH, dtype=torch.float64, requires_grad=True)
    rotation = make_rotation(interleaved)
    upstream = torch.randn(2, TOKENS, 3 * WIDTH, dtype=torch.float64)

    def here(tensor):
        return tensor.detach().to(device, dtype)

    ours = here(x).requires_grad_()
    actual = module(ours, Rotation(here(rotation.sin), here(rotation.cos), interleaved))
    actual_grads = torch.autograd.grad(actual, [ours, module.qkv.weight], here(upstream))

    q, k, v = (part.unflatten(-1, (3, WIDTH)).transpose(1, 2) for part in exact.qkv(x).chunk(3, -1))
    q, k = rotate_by_timm(q, rotation), rotate_by_timm(k, rotation)
    maps = q @ k.mT * WIDTH**-0.5
    if mix:
        maps = torch.einsum("gh,bhij->bgij", exact.pre_mix.weight, maps)
        maps = (maps + exact.pre_mix.bias[:, None, None]).softmax(-1)
        maps = torch.einsum("gh,bhij->bgij", exact.post_mix.weight, maps)
        maps = maps + exact.post_mix.bias[:, None, None]
        maps = nn.BatchNorm2d(3, dtype=torch.float64).train(training)(maps)
    else:
        maps = maps.softmax(-1)
    expected = exact.proj((maps @ v).transpose(1, 2).flatten(2))
    expected_grads = torch.autograd.grad(expected, [x, exact.qkv.weight], upstream)
    # A share of the largest element: the batch's norm enlarges what rounding leaves of small ones.
    share = {"native": 1e-5, "fused": 1e-4}.get(backend, 1e-12)
    for ours, theirs in zip([actual, *actual_grads], [expected, *expected_grads], strict=True):
        error = (ours.cpu().double() - theirs).abs().max()
        assert error <= share * theirs.abs().max()


@pytest.mark.parametrize(("tokens", "pairs"), [(TOKENS + 1, 4), (TOKENS, 3)])
def test_angles_that_do_not_fit(tokens, pairs):
    angles = torch.zeros(tokens, pairs)
    with pytest.raises(ValueError, match=rf"{tokens} tokens and {pairs} channel pairs do not fit"):
        rotate(torch.zeros(1, 3, TOKENS, WIDTH), Rotation(angles, angles, False))
