"""Two processes on one machine: SyncBatchNorm of maps and DistributedDataParallel."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmseg_deepvit.attention import HeadMixingAttention

from ..two_processes import run_in_two

SOME, NONE = (1, 2), (0, 2)  # numbers of images of the processes


def make_module(kind, backend="blockwise"):
    torch.manual_seed(0)
    module = HeadMixingAttention(
        24, 3, pre_mix=True, post_mix=True, mix_norm_cfg={"type": kind}, backend=backend
    )
    nn.init.normal_(module.mix_norm.weight)
    return module.double()


def make_images(counts=SOME):
    torch.manual_seed(1)
    return [torch.randn(count, 140, 24, dtype=torch.float64) for count in counts]


CASES = [("SyncBN", "blockwise", SOME), ("SyncBN", "explicit", SOME), ("LN", "blockwise", SOME)]
CASES += [("SyncBN", "blockwise", NONE), ("SyncBN", "explicit", NONE)]


def work(rank, results):
    for case in CASES:
        module = make_module(*case[:2])
        x = make_images(case[2])[rank].requires_grad_()
        wrapped = DistributedDataParallel(module)  # a reference keeps it reducing
        out = wrapped(x)
        out.square().sum().backward()
        gradients = {k: p.grad for k, p in module.named_parameters()}
        buffers = dict(module.named_buffers())
        results[rank, case] = {"out": out.detach(), "x": x.grad, **gradients, **buffers}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_in_two(work, tmp_path_factory.mktemp("store"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one_with_all_images(case, results):
    kind, backend, counts = case
    both = [results[rank, case] for rank in (0, 1)]
    module = make_module(kind.removeprefix("Sync"), backend)
    x = torch.cat(make_images(counts)).requires_grad_()
    out = module(x)
    out.square().sum().backward()
    torch.testing.assert_close(torch.cat([own["out"] for own in both]), out.detach())
    torch.testing.assert_close(torch.cat([own["x"] for own in both]), x.grad)
    for name, parameter in module.named_parameters():
        for own in both:  # DDP averages gradients; those of biases cancel out
            torch.testing.assert_close(2 * own[name], parameter.grad, rtol=1e-7, atol=1e-6)
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(both[1][name], buffer)


@pytest.mark.parametrize("backend", ["blockwise", "explicit"])
def test_sync_batch_norm_alone_is_batch_norm(backend):
    sync, batch = make_module("SyncBN", backend), make_module("BN", backend)
    x = make_images()[1]
    torch.testing.assert_close(sync(x), copy.deepcopy(batch)(x))
    assert list(sync.state_dict()) == list(batch.state_dict())
