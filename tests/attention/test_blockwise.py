import copy

import pytest
import torch
from torch import nn

from .cases import (
    MIXES,
    NORMS,
    SHAPES,
    TOLERANCE,
    assert_as_exact_as_explicit,
    assert_same,
    halve,
    make_call,
    make_norm,
    run,
)
from .reference import (
    attention_by_hand,
    blockwise_head_mixing_attention,
    explicit_head_mixing_attention,
)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mixes", ["post", "both"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_explicit(shape, mixes, norm, dtype):
    call = make_call(shape, MIXES[mixes], dtype)
    norm = make_norm(norm, shape[1], dtype)
    options = dict(scale=shape[-1] ** -0.5, mix_scale=0.7)
    assert_as_exact_as_explicit(call, norm, (None, 3, shape[2]), **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_explicit_with_a_pre_mix_only(shape, bias):
    call = make_call(shape, ("pre",), torch.float64, bias)
    options = dict(scale=0.3, mix_scale=0.7)
    exact = run(explicit_head_mixing_attention, call, None, **options)
    assert_same(run(blockwise_head_mixing_attention, call, None, **options), exact, 1e-10)


@pytest.mark.parametrize("norm", ["none", "batch", "batch in eval", "layer"])
def test_equals_explicit_without_bias(norm):
    call = make_call((2, 3, 17, 8), ("pre", "post"), torch.float64, bias=False)
    norm = make_norm(norm, 3, torch.float64)
    exact = run(explicit_head_mixing_attention, call, norm, scale=0.3)
    assert_same(run(blockwise_head_mixing_attention, call, norm, scale=0.3), exact, 1e-10)


@pytest.mark.parametrize(("tokens", "batch"), [(1, 2), (2, 1), (64, 1), (65, 1), (1025, 1)])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_any_number_of_tokens(tokens, batch, norm):
    call = make_call((batch, 3, tokens, 8), ("post",), torch.float32)
    assert_as_exact_as_explicit(call, make_norm(norm, 3, torch.float32), scale=0.3)


def test_2500_tokens():
    call = make_call((1, 2, 2500, 32), ("post",), torch.float32)
    assert_as_exact_as_explicit(call, make_norm("batch", 2, torch.float32), scale=32**-0.5)


@pytest.mark.parametrize("norm", ["none", "batch", "batch in eval", "layer"])
@pytest.mark.parametrize("mixes", MIXES.values(), ids=MIXES)
def test_gradcheck(mixes, norm):
    if "post" not in mixes and norm != "none":
        pytest.skip("a norm needs a post mix")
    call = make_call((2, 2, 5, 3), mixes, torch.float64)
    norm = make_norm(norm, 2, torch.float64)
    parameters = list(norm.parameters()) if norm else []

    def function(*tensors):
        fresh = copy.deepcopy(norm)
        if norm is not None:
            for name, tensor in zip(("weight", "bias"), tensors[len(call) :], strict=True):
                del fresh._parameters[name]
                setattr(fresh, name, tensor)
        named = dict(zip(call, tensors[: len(call)], strict=True))
        return blockwise_head_mixing_attention(**named, map_norm=fresh, scale=0.6, block_rows=2)

    assert torch.autograd.gradcheck(function, (*call.values(), *parameters))


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("mixes", MIXES.values(), ids=MIXES)
def test_extreme_logits(mixes, norm):
    """Logits of ±1e4 need row maxima; their softmax is nearly one-hot."""
    if "post" not in mixes and norm != "none":
        pytest.skip("a norm needs a post mix")
    call = make_call((1, 3, 33, 8), mixes, torch.float64, logits=1e4)
    norm = make_norm(norm, 3, torch.float64)
    exact = run(explicit_head_mixing_attention, call, norm, scale=1.0)
    ours = run(blockwise_head_mixing_attention, call, norm, scale=1.0, block_rows=10)
    for name, expected in exact.items():
        # Logits of 1e4 are rounded by 1e-12, and gradients have factors of 1e4 again.
        torch.testing.assert_close(ours[name], expected, rtol=1e-6, atol=1e-6)
    single = {k: t.float() for k, t in call.items()}
    ours = run(blockwise_head_mixing_attention, single, norm and norm.float(), scale=1.0)
    assert all(t.isfinite().all() for t in ours.values())


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_constant_rows(norm):
    """Equal logits give uniform maps, whose variance is zero up to rounding."""
    call = make_call((1, 3, 21, 8), ("post",), torch.float32)
    with torch.no_grad():
        call["q"].zero_()
    norm = make_norm(norm, 3, torch.float32)
    exact_call = {k: t.double() for k, t in call.items()}
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, scale=0.3)
    ours = run(blockwise_head_mixing_attention, call, norm, scale=0.3, block_rows=4)
    for name in ("output", "v", "q"):
        torch.testing.assert_close(ours[name].double(), exact[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_half_inputs_are_computed_in_fp32(dtype, autocast, norm):
    """Compared with float64 on the same inputs, only the result is rounded."""
    call = make_call((2, 4, 45, 8), ("pre", "post"), torch.float32)
    norm = make_norm(norm, 4, torch.float32)
    call, exact_call = halve(call, dtype)
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, scale=0.3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = run(blockwise_head_mixing_attention, call, norm, scale=0.3, block_rows=7)
    assert ours["output"].dtype == dtype
    assert ours["post_weight"].dtype == torch.float32
    rounding = torch.finfo(dtype).eps
    for name, expected in exact.items():
        if name not in ("pre_bias", "post_bias"):
            error = (ours[name].double() - expected).abs().max() / expected.abs().max()
            assert error < 2 * rounding, name


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_dropout_of_probabilities(norm):
    """Values that are the identity show the mask; a reference with this mask must agree."""
    tokens, p = 24, 0.3
    call = make_call((2, 3, tokens, tokens), ("pre", "post"), torch.float64)
    norm = make_norm(norm, 3, torch.float64)
    options = dict(scale=0.3, dropout_p=p, block_rows=5)

    shown = {k: t.detach() for k, t in call.items()}
    shown["v"] = torch.eye(tokens, dtype=torch.float64).expand(2, 3, tokens, tokens)
    shown["post_weight"], shown["post_bias"] = torch.eye(3).double(), torch.zeros(3).double()
    torch.manual_seed(3)
    dropped = blockwise_head_mixing_attention(**shown, **options)
    kept = blockwise_head_mixing_attention(**shown, scale=0.3)
    mask = dropped / kept
    assert torch.allclose(mask * (1 - p), (mask > 0).double())
    assert abs((mask == 0).double().mean() - p) < 0.05
    assert not torch.equal(mask[0], mask[1])

    def by_hand(map_norm, **call):
        def normalize(maps):
            if isinstance(map_norm, nn.LayerNorm):
                return map_norm(maps.movedim(1, -1)).movedim(-1, 1)
            return maps if map_norm is None else map_norm(maps)

        return attention_by_hand(**call, scale=0.3, norm=normalize, mask_p=mask)

    torch.manual_seed(3)
    ours = run(blockwise_head_mixing_attention, call, norm, **options)
    assert_same(ours, run(by_hand, call, norm), 1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_dropout_of_mixed_maps(bias):
    tokens, p = 24, 0.3
    call = make_call((2, 3, tokens, tokens), ("pre", "post"), torch.float64, bias)
    options = dict(scale=0.3, dropout_p=p, dropout_position="mix", block_rows=5)
    shown = {k: t.detach() for k, t in call.items()}
    shown["v"] = torch.eye(tokens, dtype=torch.float64).expand(2, 3, tokens, tokens)
    torch.manual_seed(3)
    mask = blockwise_head_mixing_attention(**shown, **options)
    mask = mask / blockwise_head_mixing_attention(**shown, scale=0.3)

    def by_hand(map_norm, **call):
        return attention_by_hand(**call, scale=0.3, mask_a=mask)

    torch.manual_seed(3)
    ours = run(blockwise_head_mixing_attention, call, None, **options)
    assert_same(ours, run(by_hand, call, None), 1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map_norm": nn.InstanceNorm2d(2)}, "a map norm of type InstanceNorm2d"),
        ({"map_norm": nn.BatchNorm2d(2), "post_weight": None}, "without a post mix"),
        (
            {"map_norm": nn.LayerNorm(2), "dropout_p": 0.1, "dropout_position": "mix"},
            "dropout of maps that a norm has normalised; use backend='explicit'",
        ),
        ({"block_rows": 0}, "block_rows must be at least 1, got 0"),
        ({"map_norm": nn.BatchNorm2d(2)}, "more than one entry"),
    ],
)
def test_what_it_cannot_do(options, message):
    q = torch.randn(1, 2, 1, 4)
    with pytest.raises(ValueError, match=message):
        blockwise_head_mixing_attention(
            q, q, q, scale=1.0, **{"post_weight": torch.eye(2), **options}
        )
