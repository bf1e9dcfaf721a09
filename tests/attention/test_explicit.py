import pytest
import torch
import torch.nn.functional as F
from torch import nn

from .reference import (
    attention_by_hand,
    batch_norm_by_hand,
    explicit_head_mixing_attention,
    layer_norm_by_hand,
)

SHAPES = [(1, 1, 1, 4), (2, 3, 7, 5), (2, 4, 17, 33), (1, 12, 10, 8)]
MIXES = {
    "none": (False, False, False),
    "re-attention": (False, True, True),
    "talking heads": (True, True, True),
    "talking heads without bias": (True, True, False),
    "pre only": (True, False, True),
}


def random_inputs(shape, mixes, dtype=torch.float64):
    """Make the tensors of a call; all require gradients."""
    heads = shape[1]
    pre, post, bias = mixes
    tensors = {name: torch.randn(shape) for name in "qkv"}
    for name, there in (("pre", pre), ("post", post)):
        if there:
            tensors[f"{name}_weight"] = torch.randn(heads, heads)
            if bias:
                tensors[f"{name}_bias"] = torch.randn(heads)
    return {k: t.to(dtype).requires_grad_() for k, t in tensors.items()}


def assert_same_with_gradients(ours, theirs, tensors, rtol, atol):
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=rtol, atol=atol)
    upstream = torch.randn_like(theirs)
    our_grads = torch.autograd.grad(ours, tensors, upstream.to(ours.dtype), retain_graph=True)
    their_grads = torch.autograd.grad(theirs, tensors, upstream)
    for ours_i, theirs_i in zip(our_grads, their_grads, strict=True):
        torch.testing.assert_close(ours_i, theirs_i, rtol=rtol, atol=atol)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mixes", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("mix_scale", [1.0, 0.3])
def test_equals_the_equations(shape, mixes, mix_scale):
    tensors = random_inputs(shape, mixes)
    ours = explicit_head_mixing_attention(**tensors, scale=0.7, mix_scale=mix_scale)
    theirs = attention_by_hand(**tensors, scale=0.7, mix_scale=mix_scale)
    assert_same_with_gradients(ours, theirs, list(tensors.values()), 1e-11, 1e-11)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("pre", [False, True])
def test_batch_norm_in_training(shape, pre):
    tensors = random_inputs(shape, (pre, True, True))
    norm = nn.BatchNorm2d(shape[1]).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    statistics = {}

    def by_hand(maps):
        out, statistics["mean"], statistics["var"] = batch_norm_by_hand(
            maps, norm.weight, norm.bias
        )
        return out

    ours = explicit_head_mixing_attention(**tensors, scale=0.7, map_norm=norm)
    theirs = attention_by_hand(**tensors, scale=0.7, norm=by_hand)
    inputs = [*tensors.values(), norm.weight, norm.bias]
    assert_same_with_gradients(ours, theirs, inputs, 1e-9, 1e-10)
    torch.testing.assert_close(norm.running_mean, 0.1 * statistics["mean"])
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * statistics["var"])
    assert norm.num_batches_tracked == 1


def test_batch_norm_in_eval_uses_and_keeps_running_statistics():
    tensors = random_inputs((2, 3, 7, 5), (False, True, True))
    norm = nn.BatchNorm2d(3).double().eval()
    norm.running_mean.copy_(torch.randn(3))
    norm.running_var.copy_(torch.rand(3) + 0.1)
    before = {k: v.clone() for k, v in norm.state_dict().items()}

    def by_hand(maps):
        shape = (1, 3, 1, 1)
        centred = maps - before["running_mean"].view(shape)
        return centred / torch.sqrt(before["running_var"].view(shape) + norm.eps)

    ours = explicit_head_mixing_attention(**tensors, scale=0.7, map_norm=norm)
    theirs = attention_by_hand(**tensors, scale=0.7, norm=by_hand)
    assert_same_with_gradients(ours, theirs, list(tensors.values()), 1e-10, 1e-10)
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_layer_norm_across_heads(shape):
    tensors = random_inputs(shape, (True, True, True))
    norm = nn.LayerNorm(shape[1]).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    ours = explicit_head_mixing_attention(**tensors, scale=0.7, map_norm=norm)
    theirs = attention_by_hand(
        **tensors, scale=0.7, norm=lambda m: layer_norm_by_hand(m, norm.weight, norm.bias)
    )
    inputs = [*tensors.values(), norm.weight, norm.bias]
    assert_same_with_gradients(ours, theirs, inputs, 1e-9, 1e-10)


@pytest.mark.parametrize(("position", "mask_name"), [("softmax", "mask_p"), ("mix", "mask_a")])
def test_dropout_acts_where_the_paper_says(position, mask_name):
    shape = (2, 3, 9, 4)
    tensors = random_inputs(shape, (True, True, True))
    torch.manual_seed(1)
    mask = F.dropout(torch.ones(2, 3, 9, 9, dtype=torch.float64), 0.4)
    assert 0.2 < (mask == 0).double().mean() < 0.6
    torch.manual_seed(1)
    ours = explicit_head_mixing_attention(
        **tensors, scale=0.7, dropout_p=0.4, dropout_position=position
    )
    theirs = attention_by_hand(**tensors, scale=0.7, **{mask_name: mask})
    assert_same_with_gradients(ours, theirs, list(tensors.values()), 1e-10, 1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_inputs_are_computed_in_fp32(dtype, autocast):
    """The result is the fp32 result, rounded once, with and without autocast."""
    tensors = random_inputs((2, 4, 19, 8), (True, True, True), torch.float32)
    q, k, v = (tensors.pop(n).detach().to(dtype) for n in "qkv")
    norm = nn.BatchNorm2d(4)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = explicit_head_mixing_attention(q, k, v, **tensors, scale=0.35, map_norm=norm)
    exact = explicit_head_mixing_attention(
        q.float(), k.float(), v.float(), **tensors, scale=0.35, map_norm=norm
    )
    assert ours.dtype == dtype
    assert torch.equal(ours, exact.to(dtype))


def test_extreme_logits_stay_finite():
    q = torch.full((1, 2, 5, 4), 100.0, dtype=torch.float16)
    k = torch.randn(1, 2, 5, 4).sign().half() * 100
    v = torch.randn(1, 2, 5, 4).half()
    out = explicit_head_mixing_attention(q, k, v, scale=0.5, post_weight=torch.eye(2))
    assert out.isfinite().all()
