"""The compiled passes for CPUs, for every set of instructions that this processor has."""

import copy
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmseg_deepvit.attention import head_mixing_attention
from mmseg_deepvit.attention.native import library

from .cases import (
    MIXES,
    NORMS,
    SHAPES,
    assert_as_exact_as_explicit,
    assert_same,
    halve,
    make_call,
    make_norm,
    run,
)
from .reference import (
    attention_by_hand,
    explicit_head_mixing_attention,
    native_head_mixing_attention,
)

pytestmark = pytest.mark.skipif(not library.AVAILABLE, reason="installed without a C++ compiler")


#: The gradient of one head's norm is one number, which may be a small difference of large ones.
SHAPES = [shape for shape in SHAPES if shape[1] > 1]


@pytest.fixture(params=library.AVAILABLE)
def instructions(request, monkeypatch):
    """A set of instructions, which calls use during the test."""
    monkeypatch.setattr(library, "AVAILABLE", (request.param,))
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mixes", ["post", "both"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_explicit(instructions, shape, mixes, norm):
    call = make_call(shape, MIXES[mixes], torch.float32)
    norm = make_norm(norm, shape[1], torch.float32)
    options = dict(scale=shape[-1] ** -0.5, mix_scale=0.7, attend=native_head_mixing_attention)
    assert_as_exact_as_explicit(call, norm, **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mixes", [(), ("pre",)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_explicit_without_a_post_mix(instructions, shape, mixes, bias):
    call = make_call(shape, mixes, torch.float32, bias)
    options = dict(scale=0.3, mix_scale=0.7, attend=native_head_mixing_attention)
    assert_as_exact_as_explicit(call, None, **options)


@pytest.mark.parametrize("norm", ["none", "batch", "batch in eval", "layer"])
def test_equals_explicit_without_bias(instructions, norm):
    call = make_call((2, 3, 17, 8), ("pre", "post"), torch.float32, bias=False)
    norm = make_norm(norm, 3, torch.float32)
    assert_as_exact_as_explicit(call, norm, attend=native_head_mixing_attention, scale=0.3)


@pytest.mark.parametrize("heads", [1, 2, 5, 7, 16, 17, 32])
def test_any_number_of_heads(instructions, heads):
    call = make_call((1, heads, 33, 4), ("pre", "post"), torch.float32)
    norm = make_norm("batch" if heads > 1 else "none", heads, torch.float32)
    assert_as_exact_as_explicit(call, norm, attend=native_head_mixing_attention, scale=0.5)


@pytest.mark.parametrize("width", [1, 15, 17, 96, 128])
def test_any_width(instructions, width):
    call = make_call((1, 3, 33, width), ("post",), torch.float32)
    attend = native_head_mixing_attention
    assert_as_exact_as_explicit(call, None, attend=attend, scale=width**-0.5)


@pytest.mark.parametrize(
    ("tokens", "batch"), [(1, 2), (2, 1), (16, 5), (64, 1), (65, 4), (577, 1), (1025, 1)]
)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_any_number_of_tokens_images_and_threads(threads, tokens, batch, norm):
    call = make_call((batch, 3, tokens, 24), ("post",), torch.float32)
    norm = make_norm(norm, 3, torch.float32)
    assert_as_exact_as_explicit(call, norm, attend=native_head_mixing_attention, scale=0.3)


def test_results_do_not_depend_on_which_thread_is_first():
    call = make_call((3, 4, 200, 16), ("pre", "post"), torch.float32)
    norm = make_norm("batch", 4, torch.float32)
    results = [run(native_head_mixing_attention, call, norm, scale=0.3) for _ in range(5)]
    for name, expected in results[0].items():
        assert all(torch.equal(result[name], expected) for result in results), name


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("mixes", MIXES.values(), ids=MIXES)
def test_extreme_logits(instructions, mixes, norm):
    """Logits of ±1e4 need row maxima; a softmax of them is a choice of one key."""
    if "post" not in mixes and norm != "none":
        pytest.skip("a norm needs a post mix")
    call = make_call((1, 3, 33, 8), mixes, torch.float32, logits=300)
    norm = make_norm(norm, 3, torch.float32)
    options = dict(scale=1.0, attend=native_head_mixing_attention)
    with torch.no_grad():
        call["k"].mul_(16).round_().div_(16)  # products of few bits are exact in fp32
        call["q"].round_()
        if "pre" in mixes:
            call["pre_weight"].mul_(16).round_().div_(16)
    assert_as_exact_as_explicit(call, norm, **options)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_constant_rows(instructions, norm):
    """Equal logits: uniform maps, whose variance is zero but for rounding."""
    call = make_call((1, 3, 21, 8), ("post",), torch.float32)
    with torch.no_grad():
        call["q"].zero_()
    norm = make_norm(norm, 3, torch.float32)
    exact_call = {k: t.double() for k, t in call.items()}
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, scale=0.3)
    ours = run(native_head_mixing_attention, call, norm, scale=0.3)
    for name in ("output", "v", "q"):
        torch.testing.assert_close(ours[name].double(), exact[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("mixes", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_reaches_the_same_outputs(instructions, dtype, mixes, name, value):
    call = make_call((2, 3, 40, 8), mixes, torch.float32)
    call.update({name: call[name].to(dtype) for name in "qkv"})
    with torch.no_grad():
        call[name][1, 2, 37, 3] = value
        ours = native_head_mixing_attention(**call, scale=0.3)
        exact = explicit_head_mixing_attention(**call, scale=0.3)
    assert not exact.isfinite().all()
    assert torch.equal(ours.isfinite(), exact.isfinite())
    rounding = {} if dtype == torch.float32 else dict(rtol=0.02, atol=0.01)
    torch.testing.assert_close(ours[0], exact[0], **rounding)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("shape", [(2, 4, 45, 8), (1, 3, 19, 1), (3, 5, 130, 35)], ids=str)
def test_half_inputs_cost_a_rounding(instructions, shape, dtype, norm):
    """Errors stay within two roundings of the results, whether maps are rounded too or not."""
    call = make_call(shape, ("pre", "post"), torch.float32)
    norm = make_norm(norm, shape[1], torch.float32)
    call, exact_call = halve(call, dtype)
    options = dict(scale=shape[-1] ** -0.5, mix_scale=0.7)
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, **options)
    with torch.autocast("cpu", torch.bfloat16):
        ours = run(native_head_mixing_attention, call, norm, **options)
    assert ours["output"].dtype == dtype
    assert ours["post_weight"].dtype == torch.float32
    rounding = torch.finfo(dtype).eps
    for name, expected in exact.items():
        if name not in ("pre_bias", "post_bias"):
            error = (ours[name].double() - expected).abs().max() / expected.abs().max()
            assert error < 2 * rounding, name


def test_numbers_of_16_bits_round_as_pytorch_rounds(instructions):
    """One token attends to itself alone, so outputs are values, written in 16 bits."""
    for dtype in (torch.float16, torch.bfloat16):
        bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
        values = bits.view(dtype)[bits.view(dtype).isfinite()]
        weight = 1.0009
        if instructions == "avx512" and dtype == torch.bfloat16:
            # Products of bfloat16 as it is round the map, and take values below 2^-126 for zeros.
            weight = 1 + 2**-7
            values = values[(values == 0) | (values.abs().float() >= 2**-126)]
        values = values[: len(values) // 64 * 64].view(-1, 1, 1, 64)
        zeros = torch.zeros_like(values)
        out = native_head_mixing_attention(zeros, zeros, values, scale=1.0)
        assert torch.equal(out, values)
        mixed = native_head_mixing_attention(
            zeros, zeros, values, scale=1.0, post_weight=torch.full((1, 1), weight)
        )
        assert torch.equal(mixed, (values.float() * torch.tensor(weight)).to(dtype))


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_dropout_of_probabilities(instructions, norm):
    """Values of ones in place of the identity show the mask; with it, all must agree."""
    tokens, p = 40, 0.3
    call = make_call((2, 3, tokens, tokens), ("pre", "post"), torch.float32)
    norm = make_norm(norm, 3, torch.float32)
    options = dict(scale=0.3, dropout_p=p)
    shown = {k: t.detach() for k, t in call.items()}
    shown["v"] = torch.eye(tokens).expand(2, 3, tokens, tokens)
    shown["post_weight"], shown["post_bias"] = torch.eye(3), torch.zeros(3)
    torch.manual_seed(3)
    mask = native_head_mixing_attention(**shown, **options)
    mask = mask / native_head_mixing_attention(**shown, scale=0.3)
    torch.testing.assert_close(mask * (1 - p), (mask > 0).float())
    assert abs((mask == 0).float().mean() - p) < 0.05
    assert not torch.equal(mask[0], mask[1])
    mask = (mask > 0).double() / (1 - p)

    def by_hand(map_norm, **call):
        def normalize(maps):
            if isinstance(map_norm, nn.LayerNorm):
                return map_norm(maps.movedim(1, -1)).movedim(-1, 1)
            return maps if map_norm is None else map_norm(maps)

        return attention_by_hand(**call, scale=0.3, norm=normalize, mask_p=mask)

    torch.manual_seed(3)
    ours = run(native_head_mixing_attention, call, norm, **options)
    exact_call = {k: t.double() for k, t in call.items()}
    exact = run(by_hand, exact_call, norm and copy.deepcopy(norm).double())
    assert_same(ours, exact, 1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_dropout_of_mixed_maps(instructions, bias):
    tokens, p = 40, 0.3
    call = make_call((2, 3, tokens, tokens), ("pre", "post"), torch.float32, bias)
    options = dict(scale=0.3, dropout_p=p, dropout_position="mix")
    shown = {k: t.detach() for k, t in call.items()}
    shown["v"] = torch.eye(tokens).expand(2, 3, tokens, tokens)
    torch.manual_seed(3)
    mask = native_head_mixing_attention(**shown, **options)
    mask = (mask != 0).double() / (1 - p)
    assert abs((mask == 0).double().mean() - p) < 0.05

    def by_hand(map_norm, **call):
        return attention_by_hand(**call, scale=0.3, mask_a=mask)

    torch.manual_seed(3)
    ours = run(native_head_mixing_attention, call, None, **options)
    exact_call = {k: t.double() for k, t in call.items()}
    assert_same(ours, run(by_hand, exact_call, None), 1e-5)


def test_masks_do_not_depend_on_instructions(monkeypatch):
    call = make_call((2, 3, 50, 8), ("post",), torch.float32)
    outputs = []
    for name in library.AVAILABLE:
        monkeypatch.setattr(library, "AVAILABLE", (name,))
        torch.manual_seed(1)
        outputs.append(native_head_mixing_attention(**call, scale=0.3, dropout_p=0.5))
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])


@pytest.mark.parametrize("layout", ["B N 3 H d", "B H N d", "d first", "expanded"])
def test_any_strides(instructions, layout):
    shape = batch, heads, tokens, width = 2, 3, 37, 24
    q, k, v = {
        "B N 3 H d": lambda: torch.randn(batch, tokens, 3, heads, width).permute(2, 0, 3, 1, 4),
        "B H N d": lambda: torch.randn(3, *shape),
        "d first": lambda: torch.randn(3, width, batch, heads, tokens).permute(0, 2, 3, 4, 1),
        "expanded": lambda: torch.randn(3, batch, 1, tokens, width).expand(3, *shape),
    }[layout]()
    post_weight = torch.randn(heads, heads)
    tensors = [x.detach().requires_grad_() for x in (q, k, v)]
    out = native_head_mixing_attention(*tensors, scale=0.2, post_weight=post_weight)
    upstream = torch.ones(()).expand_as(out)
    grads = torch.autograd.grad(out, tensors, upstream)
    exact = explicit_head_mixing_attention(*tensors, scale=0.2, post_weight=post_weight)
    torch.testing.assert_close(out, exact)
    torch.testing.assert_close(grads, torch.autograd.grad(exact, tensors, upstream))


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_compiles_without_a_graph_break(norm):
    norm = make_norm(norm, 3, torch.float32)
    call = make_call((2, 3, 19, 8), ("pre", "post"), torch.float32)
    expected = run(native_head_mixing_attention, call, norm, scale=0.3)
    torch._dynamo.reset()
    compiled = torch.compile(
        head_mixing_attention, backend="aot_eager", fullgraph=True, dynamic=False
    )
    ours = run(compiled, call, norm, scale=0.3)
    assert_same(ours, expected, 1e-6)


def test_checkpointed_blocks_have_the_same_gradients():
    call = make_call((1, 3, 70, 16), ("post",), torch.float32)
    q = call.pop("q")

    def attend(q):
        return native_head_mixing_attention(q, **call, scale=0.3, dropout_p=0.2)

    torch.manual_seed(0)
    (expected,) = torch.autograd.grad(attend(q).square().sum(), q)
    torch.manual_seed(0)
    out = checkpoint(attend, q, use_reentrant=False)
    (grad,) = torch.autograd.grad(out.square().sum(), q)
    assert torch.equal(grad, expected)


def test_python_threads_do_not_meet():
    calls = [make_call((1, 4, 150, 16), ("post",), torch.float32) for _ in range(4)]
    expected = [run(native_head_mixing_attention, call, None, scale=0.3) for call in calls]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            ours = pool.map(
                lambda call: run(native_head_mixing_attention, call, None, scale=0.3), calls
            )
            for result, exact in zip(ours, expected, strict=True):
                assert all(torch.equal(result[name], exact[name]) for name in exact)


def _attend_in_a_fork(queue):
    torch.manual_seed(5)
    call = make_call((1, 4, 300, 16), ("post",), torch.float32)
    queue.put(native_head_mixing_attention(**call, scale=0.3).detach().sum().item())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_processes_attend():
    """Threads of OpenMP do not survive a fork; a child takes others."""
    torch.manual_seed(5)
    call = make_call((1, 4, 300, 16), ("post",), torch.float32)
    expected = native_head_mixing_attention(**call, scale=0.3).sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_attend_in_a_fork, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (dict(q=torch.ones(1, 2, 3, 4).double()), "torch.float64"),
        (dict(q=torch.ones(1, 33, 3, 4)), r"33 heads of 4 \(values 4\); at most 32 of 128"),
        (dict(q=torch.ones(1, 2, 3, 132)), "2 heads of 132"),
        (dict(q=torch.ones(1, 2, 3, 4, device="meta")), "tensors on meta"),
    ],
)
def test_refused(call, message):
    q = call["q"]
    with pytest.raises(ValueError, match=f"the native backend does not do {message}.*'auto'"):
        native_head_mixing_attention(q, q, q, scale=1.0)


SANITIZERS = ["address,undefined", "thread"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("sanitizers", SANITIZERS)
def test_sanitizers_find_nothing(tmp_path, sanitizers):
    """Hundreds of random calls of the passes alone, in three threads."""
    program = tmp_path / "stress"
    options = ["-O1", "-g", "-std=c++17", "-fno-math-errno", "-Wno-psabi", "-pthread"]
    options += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    sources = Path(library.__file__).parent
    source = Path(__file__).with_name("native_stress.cpp")
    command = ["c++", *options, f"-I{sources}", source, "-o", program]
    subprocess.run(command, check=True)
    result = subprocess.run([program, "300"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "300 calls" in result.stdout


def test_a_machine_without_a_binary_is_told_once():
    """The package without its binary attends in PyTorch's operators, and says so in one line."""
    program = (
        "import logging, torch; logging.basicConfig()\n"
        "from mmseg_deepvit.attention import head_mixing_attention\n"
        "from mmseg_deepvit.attention.native import library\n"
        "library.AVAILABLE = ()\n"
        "q = torch.ones(1, 2, 3, 4)\n"
        "for _ in range(2): head_mixing_attention(q, q, q, scale=1.0, post_weight=torch.eye(2))\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in result.stderr.splitlines() if "compiled passes" in line]
    assert line.endswith("install a C++ compiler, then install mmseg_deepvit again")
