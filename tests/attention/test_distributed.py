"""Two processes on one machine: SyncBatchNorm of maps and DistributedDataParallel."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmseg_deepvit.attention import HeadMixingAttention

SHAPES = [(1, 140, 24), (2, 140, 24)]  # the processes' images differ in number


def make_module(kind):
    torch.manual_seed(0)
    module = HeadMixingAttention(
        24, 3, pre_mix=True, post_mix=True, mix_norm_cfg={"type": kind}, backend="blockwise"
    )
    nn.init.normal_(module.mix_norm.weight)
    return module.double()


def make_images():
    torch.manual_seed(1)
    return [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]


def work(rank, address, kind, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    module = make_module(kind)
    # On a CPU DistributedDataParallel refuses SyncBatchNorm; what it does is done by hand then.
    wrapped = module if kind == "SyncBN" else DistributedDataParallel(module)
    x = make_images()[rank].requires_grad_()
    out = wrapped(x)
    out.square().sum().backward()
    if kind == "SyncBN":
        for parameter in module.parameters():
            dist.all_reduce(parameter.grad.div_(2))
    gradients = {k: p.grad for k, p in module.named_parameters()}
    buffers = dict(module.named_buffers())
    results[rank] = {"out": out.detach(), "x": x.grad, **gradients, **buffers}
    dist.destroy_process_group()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "alone"), [("SyncBN", "BN"), ("LN", "LN")])
def test_two_processes_are_one_with_all_images(kind, alone, tmp_path):
    results = mp.Manager().dict()
    mp.spawn(work, (f"file://{tmp_path / 'store'}", kind, results), nprocs=2)
    module = make_module(alone)
    x = torch.cat(make_images()).requires_grad_()
    out = module(x)
    out.square().sum().backward()
    torch.testing.assert_close(torch.cat([results[0]["out"], results[1]["out"]]), out.detach())
    torch.testing.assert_close(torch.cat([results[0]["x"], results[1]["x"]]), x.grad)
    for name, parameter in module.named_parameters():
        for rank in (0, 1):  # gradients are averaged over the processes
            torch.testing.assert_close(2 * results[rank][name], parameter.grad)
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(results[1][name], buffer)


def test_sync_batch_norm_alone_is_batch_norm():
    sync, batch = make_module("SyncBN"), make_module("BN")
    x = make_images()[1]
    torch.testing.assert_close(sync(x), copy.deepcopy(batch)(x))
