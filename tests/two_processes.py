"""Run a function in two processes that communicate through gloo."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_in_two(work, folder):
    """Call ``work(rank, results)`` in both processes, and return the results.

    ``work`` is a function of a module that adds to a dict of results, and ``folder`` is empty.
    """
    results = mp.Manager().dict()
    mp.spawn(_run, (f"file://{folder / 'store'}", work, results), nprocs=2)
    return dict(results)


def _run(rank, address, work, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    work(rank, results)
    dist.destroy_process_group()
