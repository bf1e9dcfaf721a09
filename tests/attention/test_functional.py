from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from mmseg_deepvit.attention import (
    BACKENDS,
    HeadMixingAttention,
    head_mixing_attention,
    observe_maps,
)
from mmseg_deepvit.attention.native import library
from mmseg_deepvit.attention.sync_norm import SyncMapNorm

from .reference import blockwise_head_mixing_attention, explicit_head_mixing_attention

LARGE = (1, 4, 400, 8)  # 2.56 MB of maps: too large for 'auto' to build
#: Backends but the compiled one where the package was installed without a compiler.
HERE = [name for name in BACKENDS if name != "native" or library.AVAILABLE]
STREAMED = [name for name in HERE if name not in ("auto", "explicit")]


def make_call(shape, post=True):
    call = {name: torch.randn(shape) for name in "qkv"}
    if post:
        call["post_weight"] = torch.randn(shape[1], shape[1]) / 2
    return {**call, "scale": shape[-1] ** -0.5}


@pytest.mark.skipif(not library.AVAILABLE, reason="installed without a C++ compiler")
@pytest.mark.parametrize("shape", [LARGE, (1, 4, 100, 8)])
def test_auto_takes_compiled_passes(shape):
    call = make_call(shape)
    ours = head_mixing_attention(**call)
    assert torch.equal(ours, head_mixing_attention(**call, backend="native"))
    call = {k: x.double() if isinstance(x, torch.Tensor) else x for k, x in call.items()}
    torch.testing.assert_close(head_mixing_attention(**call), ours.double(), rtol=1e-5, atol=1e-5)


def test_auto_without_compiled_passes_streams_large_maps_and_builds_small_ones(monkeypatch):
    monkeypatch.setattr(library, "AVAILABLE", ())
    call = make_call(LARGE)
    blockwise = blockwise_head_mixing_attention(**call)
    assert not torch.equal(blockwise, explicit_head_mixing_attention(**call))
    assert torch.equal(head_mixing_attention(**call), blockwise)
    call = make_call((1, 4, 100, 8))
    assert torch.equal(head_mixing_attention(**call), explicit_head_mixing_attention(**call))


def by_pytorch(q, k, v, scale, **options):
    return F.scaled_dot_product_attention(q, k, v, scale=scale, **options)


def test_auto_leaves_small_plain_attention_to_pytorch():
    call = make_call(LARGE, post=False)
    ours = head_mixing_attention(**call)
    assert torch.equal(ours, by_pytorch(**call))
    scaled = head_mixing_attention(**call, mix_scale=0.5)
    torch.testing.assert_close(scaled, 0.5 * ours)


#: Plain attention that compiled passes do faster than PyTorch, where they have AVX2 or AVX-512.
PLAIN = (1, 4, 730, 8)
fast = pytest.mark.skipif(
    library.AVAILABLE[:1] not in (("avx2",), ("avx512",)), reason="no AVX2, or no C++ compiler"
)


@fast
@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        (PLAIN, torch.float32, {}),
        (PLAIN, torch.bfloat16, {}),
        ((2, 3, 190, 11), torch.float32, dict(dropout_p=0.1)),
    ],
)
def test_auto_takes_compiled_passes_for_large_plain_attention(shape, dtype, options, monkeypatch):
    monkeypatch.setattr("mmseg_deepvit.attention.native._has_amx", lambda: False)
    call = make_call(shape, post=False)
    call.update({name: call[name].to(dtype) for name in "qkv"}, **options)
    outputs = []
    for backend in ("auto", "native"):
        torch.manual_seed(1)
        outputs.append(head_mixing_attention(**call, backend=backend))
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], by_pytorch(**make_call(shape, post=False)).to(dtype))
    monkeypatch.setattr(library, "AVAILABLE", ("portable",))
    if not options:
        assert torch.equal(head_mixing_attention(**call), by_pytorch(**call))


class Kind(torch.Tensor):
    """A kind of tensor, as users make them."""


@fast
@pytest.mark.parametrize("watcher", ["mode", "kind", "trace", "AMX", "transform"])
def test_auto_leaves_plain_attention_to_pytorch_where_others_watch(watcher, monkeypatch):
    call = make_call(PLAIN, post=False)
    attend = partial(head_mixing_attention, **call)
    if watcher == "AMX":
        monkeypatch.setattr("mmseg_deepvit.attention.native._has_amx", lambda: True)
        call.update({name: call[name].bfloat16() for name in "qkv"})
        assert torch.equal(head_mixing_attention(**call), by_pytorch(**call))
    elif watcher == "mode":
        with FlopCounterMode(display=False) as counter:
            attend()
        assert counter.get_total_flops() == 2 * 2 * 4 * 730**2 * 8
    elif watcher == "kind":
        call["q"] = call["q"].as_subclass(Kind)
        assert torch.equal(head_mixing_attention(**call), by_pytorch(**call))
    elif watcher == "trace":
        q = call.pop("q")
        traced = torch.jit.trace(lambda q: head_mixing_attention(q, **call), q)
        assert "mmseg_deepvit::" not in str(traced.inlined_graph)
    else:
        q = call.pop("q")
        ours = torch.func.grad(lambda q: head_mixing_attention(q, **call).square().sum())(q)
        exact = torch.func.grad(lambda q: by_pytorch(q, **call).square().sum())(q)
        assert torch.equal(ours, exact)


@fast
def test_large_plain_attention_compiles_to_one_graph():
    call = {k: x.requires_grad_() for k, x in make_call(PLAIN, post=False).items() if k in "qkv"}
    torch._dynamo.reset()
    compiled = torch.compile(head_mixing_attention, backend="aot_eager", fullgraph=True)
    out, expected = compiled(**call, scale=0.3), by_pytorch(**call, scale=0.3)
    torch.testing.assert_close(out, expected)
    grads, exact = (
        torch.autograd.grad(x.square().sum(), list(call.values())) for x in (out, expected)
    )
    torch.testing.assert_close(grads, exact, rtol=1e-4, atol=1e-5)


def test_auto_builds_maps_for_what_blockwise_cannot_do():
    call = make_call(LARGE)
    norm = nn.LayerNorm(4)
    options = dict(map_norm=norm, dropout_p=0.5, dropout_position="mix")
    torch.manual_seed(1)
    ours = head_mixing_attention(**call, **options)
    torch.manual_seed(1)
    assert torch.equal(ours, explicit_head_mixing_attention(**call, **options))
    with pytest.raises(ValueError, match="use backend='explicit'"):
        head_mixing_attention(**call, **options, backend="blockwise")


@pytest.mark.parametrize("post", [True, False])
@pytest.mark.parametrize("backend", HERE)
def test_backends_agree(backend, post):
    call = make_call(LARGE, post)
    expected = explicit_head_mixing_attention(**call)
    torch.testing.assert_close(head_mixing_attention(**call, backend=backend), expected)


def transforms(function, q):
    """Return derivatives that a streamed backward pass does not support, by name."""

    def square(q):
        return function(q).square().sum()

    def dual(q):
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(function(forward_ad.make_dual(q, q.cos()))).tangent

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(q):
        return torch.func.jvp(function, (q,), (q.cos(),))[1]

    return {
        "jvp": lambda: torch.func.jvp(function, (q,), (q.cos(),))[1],
        "jvp in a compiled graph": lambda: compiled(q),
        "dual numbers": lambda: dual(q),
        "grad": lambda: torch.func.grad(square)(q),
        "second grad": lambda: torch.func.grad(lambda q: torch.func.grad(square)(q).sum())(q),
        "vmap": lambda: torch.func.vmap(function)(q[None]),
    }


TRANSFORMS = list(transforms(None, None))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_right_or_refused(name):
    """``'auto'`` builds maps of any size for them; streamed backends refuse them."""
    call = make_call(LARGE)
    q = call.pop("q")

    def by(backend):
        return transforms(lambda q: head_mixing_attention(q, **call, backend=backend), q)[name]()

    exact = by("explicit")
    assert exact.abs().max() > 0
    torch.testing.assert_close(by("auto"), exact, rtol=0, atol=0)
    for backend in STREAMED:
        with pytest.raises(Exception, match=f"{backend} backend does not do forward-mode"):
            by(backend)


@pytest.mark.parametrize("backend", STREAMED)
def test_second_derivatives_are_refused(backend):
    call = make_call((1, 2, 5, 16))
    q = call.pop("q").requires_grad_()
    out = head_mixing_attention(q, **call, backend=backend)
    (grad,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative; use backend='explicit'"):
        torch.autograd.grad(grad.sum(), q)


@pytest.mark.parametrize("shape", [(0, 2, 5, 16), (3, 2, 0, 16)], ids=["images", "tokens"])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, SyncMapNorm, nn.LayerNorm])
@pytest.mark.parametrize("backend", HERE)
def test_no_images_and_no_tokens(backend, norm, shape):
    """The output is empty, gradients are zero, and running statistics stay."""
    norm = norm(2)
    before = {k: v.clone() for k, v in norm.state_dict().items() if k != "num_batches_tracked"}
    call = {k: v.requires_grad_() for k, v in make_call(shape).items() if k != "scale"}
    out = head_mixing_attention(**call, scale=0.3, map_norm=norm, backend=backend)
    assert out.shape == shape
    wanted = [*call.values(), *norm.parameters()]
    grads = torch.autograd.grad(out.sum(), wanted, allow_unused=True)
    assert all(grad is None or not grad.count_nonzero() for grad in grads)
    after = {k: norm.state_dict()[k] for k in before}
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_unknown_backend():
    message = "backend must be one of auto, explicit, blockwise, native, fused, got 'flash'"
    with pytest.raises(ValueError, match=message):
        head_mixing_attention(**make_call((1, 2, 3, 4)), backend="flash")
    with pytest.raises(ValueError, match=message):
        HeadMixingAttention(8, 2, backend="flash")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(q=torch.ones(1, 2, 3, 4).long()), TypeError, "q must be .* got one of torch.int64"),
        (dict(k=None), TypeError, "k must be a floating-point tensor, got NoneType"),
        (dict(q=torch.ones(2, 3, 4)), ValueError, r"q must have the shape .* got \(2, 3, 4\)"),
        (dict(k=torch.ones(1, 2, 5, 4)), ValueError, r"k must have q's shape .* \(1, 2, 5, 4\)"),
        (dict(v=torch.ones(1, 2, 3, 4).double()), ValueError, "v must have q's dtype .*float64"),
        (dict(v=torch.ones(1, 2, 3, 4, device="meta")), ValueError, "v must be on .* got meta"),
        (dict(post_weight=torch.ones(3, 3)), ValueError, r"shape \(2, 2\) for 2 heads"),
        (dict(post_weight=torch.ones(2, 2), post_bias=torch.ones(1)), ValueError, r"got \(1,\)"),
        (dict(pre_bias=torch.ones(2)), ValueError, "pre_bias needs a pre_weight; give both"),
        (dict(pre_weight=torch.ones(2, 2, device="meta")), ValueError, "pre_weight must be on"),
        (dict(map_norm=nn.BatchNorm2d(3)), ValueError, r"over 2 heads, got a BatchNorm2d over"),
        (dict(map_norm=nn.LayerNorm([2, 2])), ValueError, r"LayerNorm over \(2, 2\)"),
        (dict(mix_scale=torch.ones(2)), ValueError, r"mix_scale must be a number .* got \(2,\)"),
        (dict(dropout_p=1.0), ValueError, r"dropout_p must be in \[0, 1\), got 1.0"),
        (dict(dropout_position="logits"), ValueError, "'softmax' or 'mix', got 'logits'"),
        (dict(block_rows=0), ValueError, "block_rows must be at least 1, got 0"),
    ],
)
def test_bad_inputs_say_what_was_expected_and_what_came(change, error, message):
    with pytest.raises(error, match=message):
        head_mixing_attention(**{**make_call((1, 2, 3, 4), post=False), **change})


@pytest.mark.parametrize("mixes", [{}, {"post_mix": True}, {"pre_mix": True, "post_mix": True}])
@pytest.mark.parametrize("backend", HERE)
def test_observed_maps(backend, mixes):
    """Observed P and A are those of the call, and the output stays the same."""
    module = HeadMixingAttention(32, 4, backend=backend, **mixes)
    x = torch.randn(2, 19, 32)
    maps = []
    with observe_maps(maps.append):
        watched = module(x)
    torch.testing.assert_close(watched, module(x))
    (seen,) = maps
    assert seen.probabilities.shape == seen.mixed.shape == (2, 4, 19, 19)
    torch.testing.assert_close(seen.probabilities.sum(-1), torch.ones(2, 4, 19))
    v = module.qkv(x).unflatten(-1, (3, 4, 8))[:, :, 2].transpose(1, 2)
    torch.testing.assert_close(module.proj((seen.mixed @ v).transpose(1, 2).flatten(2)), watched)
    assert torch.equal(seen.probabilities, seen.mixed) == (not mixes)


def test_observers_nest_and_end():
    module = HeadMixingAttention(8, 2, post_mix=True)
    x = torch.randn(1, 5, 8)
    outer, inner = [], []
    with observe_maps(outer.append):
        module(x)
        with observe_maps(inner.append):
            module(x)
        module(x)
    module(x)
    assert (len(outer), len(inner)) == (2, 1)


def test_traces_and_exports_have_standard_operators_only():
    module = HeadMixingAttention(32, 4, post_mix=True, mix_norm_cfg={"type": "BN"}).eval()
    x = torch.randn(1, 400, 32)
    traced = torch.jit.trace(module, x)
    assert "mmseg_deepvit::" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), module(x))


def test_state_does_not_depend_on_the_backend():
    modules = [HeadMixingAttention(8, 2, post_mix=True, backend=b) for b in BACKENDS]
    assert len({tuple(m.state_dict()) for m in modules}) == 1


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("norm", ["BN", "LN"])
@pytest.mark.parametrize("map_tokens", [None, 65])
def test_module_compiles_to_one_graph(map_tokens, norm, dynamic):
    """A compiled module is one graph, also with running statistics and another N."""
    settings = dict(mix_norm_cfg={"type": norm}, map_tokens=map_tokens, backend="blockwise")
    module = HeadMixingAttention(32, 4, pre_mix=True, post_mix=True, **settings)
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for tokens in (140, 150):
        x = torch.randn(1, tokens, 32, requires_grad=True)
        out, expected = compiled(x), module(x)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(
            torch.autograd.grad(out.square().sum(), x),
            torch.autograd.grad(expected.square().sum(), x),
        )
    if norm == "BN":
        assert module.mix_norm.num_batches_tracked == 4
