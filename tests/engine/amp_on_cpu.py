"""mmengine's mixed precision without a GPU: the same code, with PyTorch's loss scaler for CPUs."""

from functools import partial

import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper as wrapper


def allow_amp_on_cpu(monkeypatch):
    """mmengine asks for a GPU, and for bf16 where there is none; PyTorch no longer does."""
    scaler = partial(torch.amp.GradScaler, device="cpu")
    monkeypatch.setattr(wrapper, "is_cuda_available", lambda: True)
    monkeypatch.setattr(wrapper, "GradScaler", scaler)
    cast = partial(torch.autocast, "cpu")
    monkeypatch.setattr("mmengine.runner.amp.autocast", lambda dtype: cast(dtype=dtype))
