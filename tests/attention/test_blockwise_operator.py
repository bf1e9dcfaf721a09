"""Blockwise backend in PyTorch: compilers, memory, devices."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_deepvit.attention.blockwise import default_block_rows, passes

from .cases import assert_as_exact_as_explicit, assert_same, make_call, make_norm, run
from .reference import blockwise_head_mixing_attention


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
            if "mmseg_deepvit::streamed" in str(function.name()):
                seen.append((function, args))
            return function(*args, **(kwargs or {}))

    call = make_call((2, 3, 19, 8), ("pre", "post"), torch.float32)
    with Record():
        blockwise_head_mixing_attention(**call, map_norm=norm, scale=0.3)
    (function, args), *_ = seen
    torch.library.opcheck(function, args)


@pytest.mark.parametrize("tokens", [256, 512])
def test_memory_grows_with_n_only(tokens):
    """No tensor of a pass is as large as a map or grows like a map."""
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


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["none", "batch", "batch in eval", "layer"])
@pytest.mark.parametrize("tokens", [70, 300])
def test_on_a_gpu(tokens, norm):
    call = make_call((2, 6, tokens, 33), ("pre", "post"), torch.float32)
    call = {k: t.detach().cuda().requires_grad_() for k, t in call.items()}
    norm = make_norm(norm, 6, torch.float32)
    assert_as_exact_as_explicit(call, norm and norm.cuda(), (None, 16), scale=0.2)
