import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_deepvit.attention.blockwise import default_block_rows, passes
from mmseg_deepvit.benchmark import relative_error

from .reference import (
    attention_by_hand,
    blockwise_head_mixing_attention,
    explicit_head_mixing_attention,
)

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
    """Arguments of a call, all tensors of which want gradients."""
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
    """Output, gradients by name, and buffers of the norm after the call."""
    norm = copy.deepcopy(norm)
    call = {k: t.detach().clone().requires_grad_() for k, t in call.items()}
    out = function(**call, map_norm=norm, **options)
    tensors = {**call, **(dict(norm.named_parameters()) if norm else {})}
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).sin().view_as(out)
    grads = torch.autograd.grad(out, list(tensors.values()), upstream.to(out.dtype))
    buffers = dict(norm.named_buffers()) if norm else {}
    return {"output": out.detach(), **dict(zip(tensors, grads, strict=True)), **buffers}


def assert_same(ours, exact, tolerance, explicit=None):
    """Largest difference over the largest value; what is zero but for rounding counts as zero.

    With ``explicit``, results in the same precision, an error is also allowed where it is no more
    than twice theirs: some gradients are small differences of large numbers.
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


def assert_as_exact_as_explicit(call, norm, block_rows=(None,), **options):
    """Compare outputs, every gradient and running statistics with float64."""
    exact_call = {k: t.double() for k, t in call.items()}
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, **options)
    explicit = run(explicit_head_mixing_attention, call, norm, **options)
    for rows in block_rows:
        ours = run(blockwise_head_mixing_attention, call, norm, block_rows=rows, **options)
        assert_same(ours, exact, TOLERANCE[call["q"].dtype], explicit)


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
    """Logits of ±1e4 take the way with row maxima; softmax is then all but a choice."""
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
    """Equal logits: uniform maps, whose variance is zero but for rounding."""
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
    """Against float64 on the same rounded inputs, the error is that of rounding the result."""
    call = make_call((2, 4, 45, 8), ("pre", "post"), torch.float32)
    norm = make_norm(norm, 4, torch.float32)
    exact_call = {k: t.double() for k, t in call.items()}
    for name in "qkv":
        call[name] = call[name].detach().to(dtype)
        exact_call[name] = call[name].double()
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
    """Values of ones in place of the identity show the mask; with it, all must agree."""
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


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_compiles_without_a_graph_break(norm):
    norm = make_norm(norm, 3, torch.float64)
    call = make_call((2, 3, 19, 8), ("pre", "post"), torch.float64)
    exact = run(blockwise_head_mixing_attention, call, norm, scale=0.3)
    torch._dynamo.reset()
    compiled = torch.compile(
        blockwise_head_mixing_attention, backend="aot_eager", fullgraph=True, dynamic=False
    )
    assert_same(run(compiled, call, norm, scale=0.3), exact, 1e-12)


def test_operator_is_registered_as_pytorch_wants_it():
    norm = nn.BatchNorm2d(3)
    seen = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "mmseg_deepvit::blockwise" in str(function.name()):
                seen.append((function, args))
            return function(*args, **(kwargs or {}))

    call = make_call((2, 3, 19, 8), ("pre", "post"), torch.float32)
    with Record():
        blockwise_head_mixing_attention(**call, map_norm=norm, scale=0.3)
    (function, args), *_ = seen
    torch.library.opcheck(function, args)


@pytest.mark.parametrize("tokens", [256, 512])
def test_memory_grows_with_n_only(tokens):
    """No tensor that a pass makes is as large as a map, nor grows as a map does."""
    heads, width = 2, 8
    largest = []

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple) else (out,):
                if isinstance(tensor, torch.Tensor) and tensor.numel() == tensor.nbytes // 4:
                    largest.append(tensor.numel())
            return out

    q, k, v, grad = torch.randn(4, 1, heads, tokens, width)
    for function in passes(q, k, v, 0.3, torch.eye(heads), grad, block_rows=16).values():
        with Largest():
            function()
    assert max(largest) == 2 * heads * 16 * tokens


def test_default_block_rows():
    assert default_block_rows(torch.empty(1, 12, 50, 32)) == 50
    assert default_block_rows(torch.empty(1, 12, 16385, 32)) <= 64
    rows = default_block_rows(torch.empty(1, 12, 1025, 32))
    assert 64 <= rows <= 200
    assert -(-1025 // rows) * rows - 1025 < -(-1025 // rows)  # equal blocks


def test_buffers_made_in_inference_mode_serve_training():
    call = make_call((1, 2, 40, 8), ("post",), torch.float32)
    with torch.inference_mode():
        first = blockwise_head_mixing_attention(**call, scale=0.3)
        blockwise_head_mixing_attention(**call, scale=0.3)
    second = run(blockwise_head_mixing_attention, call, None, scale=0.3)
    assert torch.equal(first, second["output"])


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
