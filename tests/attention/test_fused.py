"""Triton kernels, on a GPU or in Triton's interpreter on a CPU."""

import copy
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("triton")

from mmseg_deepvit.attention import fused, head_mixing_attention
from mmseg_deepvit.attention.call_settings import CallSettings
from mmseg_deepvit.attention.fused.trial import Call, passes_trial, trial_error

from .cases import MIXES, assert_same, halve, make_call, make_norm, run
from .reference import (
    blockwise_head_mixing_attention,
    explicit_head_mixing_attention,
    fused_head_mixing_attention,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
#: Shapes with two images, with full and partial tiles of heads and widths, with one row more than
#: a tile, and with more widths than are loaded at once.
SHAPES = [(2, 3, 37, 20), (1, 12, 33, 32), (1, 16, 17, 48), (1, 1, 50, 16)]
LARGE = [(1, 12, 70, 33), (1, 24, 40, 35), (2, 4, 65, 128), (1, 17, 33, 64)]
NORMS = ["none", "batch", "batch in eval", "layer"]
#: Largest errors in roundings of the dtype. TF32 adds roundings that the interpreter lacks.
ROUNDINGS = {torch.float32: 40, torch.float16: 4, torch.bfloat16: 4}


@pytest.fixture(autouse=True)
def _bf16_is_rounded_to_nearest(monkeypatch):
    """Round like GPUs; Triton's interpreter truncates, which shrinks sums."""
    if DEVICE != "cpu":
        return
    interpreter = importlib.import_module("triton.runtime.interpreter")
    builder, language = interpreter.InterpreterBuilder, interpreter.tl
    cut = builder.create_fp_trunc

    def convert(self, source, kind):
        if (source.dtype.scalar, kind.scalar) != (language.float32, language.bfloat16):
            return cut(self, source, kind)
        rounded = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16()
        bits = rounded.view(torch.int16).numpy().view(np.uint16)
        return interpreter.TensorHandle(bits, language.bfloat16)

    monkeypatch.setattr(builder, "create_fp_trunc", convert)


def to_device(call, norm):
    call = {k: t.detach().to(DEVICE) for k, t in call.items()}
    return call, norm if norm is None else norm.to(DEVICE)


def check(shape, mixes, norm, dtype, **options):
    """Compare output, gradients and running statistics with the explicit backend in float64."""
    norm = make_norm(norm, shape[1], torch.float32)
    call, norm = to_device(make_call(shape, MIXES[mixes], torch.float32), norm)
    call, exact_call = halve(call, dtype)
    exact_norm = norm and copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, **options)
    explicit = run(explicit_head_mixing_attention, call, norm, **options)
    ours = run(fused_head_mixing_attention, call, norm, **options)
    assert ours["output"].dtype == dtype
    tolerance = ROUNDINGS[dtype] * torch.finfo(dtype).eps
    assert_same(ours, exact, tolerance, explicit)


@pytest.mark.parametrize("dtype", ROUNDINGS, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mixes", ["post", "both"])
def test_equals_explicit(mixes, norm, dtype):
    check(SHAPES[0], mixes, norm, dtype, scale=0.3, mix_scale=0.7)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_any_shape(shape, norm):
    check(shape, "both", norm, torch.float16, scale=shape[-1] ** -0.5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ROUNDINGS, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES + LARGE, ids=str)
def test_any_large_shape(shape, norm, dtype):
    check(shape, "both", norm, dtype, scale=shape[-1] ** -0.5)


def test_pre_mix_only_and_no_mix_at_all():
    check(SHAPES[0], "pre", "none", torch.float32, scale=0.3)
    call, _ = to_device(make_call(SHAPES[0], (), torch.float32), None)
    exact = run(explicit_head_mixing_attention, call, None, scale=0.3)
    assert_same(run(fused_head_mixing_attention, call, None, scale=0.3), exact, 1e-5)


def test_strides():
    """Queries, keys and values are slices of a tensor; the gradient has another layout."""
    qkv = torch.randn(2, 37, 3, 4, 16, device=DEVICE)
    results = []
    for backend in ("fused", "explicit"):
        leaf = qkv.clone().requires_grad_()
        q, k, v = leaf.permute(2, 0, 3, 1, 4)
        weight = torch.eye(4, device=DEVICE) + 0.1
        out = head_mixing_attention(q, k, v, scale=0.3, post_weight=weight, backend=backend)
        out.permute(3, 1, 2, 0).sin().sum().backward()
        results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(*results)


def test_nearly_uniform_maps():
    """Maps differ from 1/N by thousandths; rounding must not hide their variance."""
    call, norm = to_device(
        make_call((1, 4, 60, 16), ("post",), torch.float32, bias=False, logits=1e-2),
        nn.BatchNorm2d(4),
    )
    norm.eps = 1e-12
    call, exact_call = halve(call, torch.float16)
    exact_norm = copy.deepcopy(norm).double()
    exact = run(explicit_head_mixing_attention, exact_call, exact_norm, scale=0.25)
    ours = run(fused_head_mixing_attention, call, norm, scale=0.25)
    assert_same(ours, exact, 4e-3)


def test_extreme_logits():
    call, _ = to_device(make_call((1, 3, 33, 16), ("pre", "post"), torch.float32, logits=1e4), None)
    exact = run(
        explicit_head_mixing_attention, {k: t.double() for k, t in call.items()}, None, scale=1.0
    )
    ours = run(fused_head_mixing_attention, call, None, scale=1.0)
    assert all(t.isfinite().all() for t in ours.values())
    torch.testing.assert_close(ours["output"].double(), exact["output"], rtol=1e-2, atol=1e-2)


def test_repeats_exactly():
    call, norm = to_device(
        make_call((2, 3, 50, 16), ("pre", "post"), torch.float32), nn.BatchNorm2d(3)
    )
    first, second = (run(fused_head_mixing_attention, call, norm, scale=0.3) for _ in range(2))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_compiles_without_a_graph_break():
    norm = make_norm("batch", 3, torch.float32)
    call, norm = to_device(make_call((1, 3, 20, 16), ("pre", "post"), torch.float32), norm)
    exact = run(fused_head_mixing_attention, call, norm, scale=0.3)
    torch._dynamo.reset()
    compiled = torch.compile(fused_head_mixing_attention, backend="aot_eager", fullgraph=True)
    assert_same(run(compiled, call, norm, scale=0.3), exact, 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.float64, "k": torch.float64, "v": torch.float64}, "inputs of torch.float64"),
        ({"dropout_p": 0.1}, "dropout"),
        ({"map_norm": nn.InstanceNorm2d(3)}, "a map norm of type InstanceNorm2d"),
    ],
)
def test_what_it_cannot_do(change, message):
    call, _ = to_device(make_call((1, 3, 20, 16), ("post",), torch.float32), None)
    for name in "qkv":
        call[name] = call[name].to(change.pop(name, torch.float32))
    with pytest.raises(ValueError, match=message):
        fused_head_mixing_attention(**call, scale=0.3, **change)


@pytest.mark.parametrize("shape", [(1, 33, 20, 16), (1, 2, 20, 129)])
def test_heads_it_cannot_do(shape):
    call, _ = to_device(make_call(shape, ("post",), torch.float32), None)
    with pytest.raises(ValueError, match="at most 32 of 128; use backend='auto'"):
        fused_head_mixing_attention(**call, scale=0.3)


def test_other_devices_are_named(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    q = torch.randn(1, 2, 20, 16)
    with pytest.raises(ValueError, match="tensors on cpu, only on NVIDIA GPUs"):
        fused_head_mixing_attention(q, q, q, scale=0.3, post_weight=torch.eye(2))


KIND = Call(DEVICE, torch.float32, 3, 16, True, True, "batch")


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_trial(norm):
    assert passes_trial(*KIND._replace(norm=norm))


def test_a_failed_trial_is_told_and_blockwise_serves(monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("ptxas: no such option\nmore")

    monkeypatch.setattr("mmseg_deepvit.attention.fused.passes.forward", fail)
    kind = KIND._replace(heads=5)
    assert not passes_trial(*kind)
    assert "RuntimeError: ptxas: no such option): blockwise attention is used" in caplog.text
    q = torch.randn(1, 5, 20, 16, device=DEVICE)
    mix = q.new_ones(5, 5)
    assert not fused.serves(q, CallSettings(0.3, mix, None, mix, map_norm=nn.BatchNorm2d(5)))


def test_wrong_results_fail_the_trial(monkeypatch, caplog):
    from mmseg_deepvit.attention.fused import passes

    forward = passes.forward
    monkeypatch.setattr(passes, "forward", lambda *args: forward(*args) + float("nan"))
    kind = KIND._replace(heads=6)
    assert trial_error(kind) == float("inf")
    assert not passes_trial(*kind)
    assert "relative error inf" in caplog.text


def test_what_auto_turns_away_is_logged_once(caplog):
    caplog.set_level("DEBUG")
    q = torch.randn(1, 2, 20, 16, dtype=torch.float64, device=DEVICE)
    settings = CallSettings(0.3, post_weight=torch.eye(2))
    assert not fused.serves(q, settings)
    assert not fused.serves(q, settings)
    assert caplog.text.count("inputs of torch.float64") == 1


def test_auto_takes_it_on_a_gpu_in_a_compiled_graph(monkeypatch):
    """The choice of a backend runs while the graph is traced. A CPU replaces the GPU here."""
    from mmseg_deepvit.attention import functional

    taken = []
    attend = fused.fused_attention

    def choose(q, k, v, settings):
        return "fused" if fused.serves(q, settings) else "blockwise"

    def watch(*args):
        taken.append(args)
        return attend(*args)

    monkeypatch.setattr(functional, "_choose", choose)
    monkeypatch.setattr(fused, "fused_attention", watch)
    call, _ = to_device(make_call((1, 7, 20, 16), ("post",), torch.float32), None)
    torch._dynamo.reset()
    compiled = torch.compile(head_mixing_attention, backend="aot_eager", fullgraph=True)
    out = compiled(**call, scale=0.3)
    assert len(taken) == 1
    torch.testing.assert_close(out, blockwise_head_mixing_attention(**call, scale=0.3))


def test_an_older_triton_is_named(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert not fused._unsupported_device("cuda:0")
    monkeypatch.setattr("triton.__version__", "3.3.1")
    assert "Triton 3.3.1: 3.4 is needed" in fused._unsupported_device("cuda:0")


@pytest.mark.parametrize(
    ("capability", "options"), [(90, []), (80, ["--norm", "layer", "--pre"])], ids=["h100", "a100"]
)
def test_programs_compile_for_a_gpu(capability, options):
    """Every program compiles with a tiling that fits in the shared memory of A100 or H100."""
    pytest.importorskip("triton.backends.nvidia")
    command = [sys.executable, "-m", "tests.attention.gpu_compilation", *options]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    result = subprocess.run(
        [*command, "--capability", str(capability)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    programs = [json.loads(line) for line in result.stdout.splitlines() if line[0] == "{"]
    room = {80: 163, 90: 227}[capability] * 1024
    fitting = {p["kernel"] for p in programs if p["shared"] <= room and p["spilled"] <= 1024}
    assert len(fitting) == 6


@pytest.mark.gpu
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("tokens", [197, 1025])
@pytest.mark.parametrize("dtype", ROUNDINGS, ids=str)
def test_published_shapes_on_a_gpu(dtype, tokens, norm):
    for heads, width in ((12, 32), (12, 33), (12, 35), (8, 48), (12, 64), (16, 64), (24, 128)):
        check((1, heads, tokens, width), "both", norm, dtype, scale=width**-0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_in_a_cuda_graph(norm):
    norm = make_norm(norm, 4, torch.float32).cuda()
    call, _ = to_device(make_call((2, 4, 197, 32), ("post",), torch.float32), None)
    call = {k: t.requires_grad_() for k, t in call.items()}

    def step():
        for tensor in call.values():
            tensor.grad = None
        out = fused_head_mixing_attention(**call, map_norm=norm, scale=0.2)
        out.sin().sum().backward()
        return out

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    with torch.no_grad():
        call["q"].normal_()
    graph.replay()
    expected = blockwise_head_mixing_attention(**call, map_norm=norm, scale=0.2)
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_auto_takes_it():
    call, _ = to_device(make_call((1, 4, 300, 32), ("post",), torch.float32), None)
    call = {k: t.to(torch.bfloat16) if k in "qkv" else t for k, t in call.items()}
    auto = head_mixing_attention(**call, scale=0.2)
    assert torch.equal(auto, fused_head_mixing_attention(**call, scale=0.2))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_module_under_autocast_and_checkpointing(dtype):
    from torch.utils.checkpoint import checkpoint

    from mmseg_deepvit.attention import HeadMixingAttention

    module = HeadMixingAttention(
        64, 4, post_mix=True, mix_norm_cfg={"type": "BN"}, backend="fused"
    ).cuda()
    x = torch.randn(2, 197, 64, device="cuda", requires_grad=True)
    grads = []
    for backend in ("fused", "explicit"):
        module.backend = backend
        with torch.autocast("cuda", dtype):
            out = checkpoint(module, x, use_reentrant=False)
        grads.append(torch.autograd.grad(out.float().square().sum(), [x, *module.parameters()]))
    for ours, theirs in zip(*grads, strict=True):
        error = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6)
        assert error < 20 * torch.finfo(dtype).eps or theirs.abs().max() < 1e-3
