"""Mixed precision on a CPU, where mmengine's wrapper refuses to run.

Reference: mmengine ``mmengine/optim/optimizer/amp_optimizer_wrapper.py``.
Deviations: autocast and loss scaler are PyTorch's for CPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn
from torch.amp import GradScaler

#: Types of PyTorch's autocast on a CPU.
_DTYPES = ("float16", "bfloat16")


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's AmpOptimWrapper on a CPU; both can resume from each other's checkpoints.

    Args:
        loss_scale: Scale above 0, ``'dynamic'``, or arguments of PyTorch's GradScaler.
        dtype: ``'bfloat16'``, fast on processors that have it, or ``'float16'``, mostly slow.
        **kwargs: Arguments of mmengine's OptimWrapper.

    Raises:
        ValueError: ``dtype`` is another type.
    """

    def __init__(
        self,
        loss_scale: str | float | dict[str, Any] = "dynamic",
        dtype: str = "bfloat16",
        **kwargs: Any,
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype is {dtype!r}: give one of {', '.join(_DTYPES)}")
        OptimWrapper.__init__(self, **kwargs)  # mmengine's wrapper asks for a GPU
        self._scale_update_param = loss_scale if isinstance(loss_scale, float) else None
        if isinstance(loss_scale, float):
            loss_scale = dict(init_scale=loss_scale)
        settings = loss_scale if isinstance(loss_scale, dict) else {}
        self.loss_scaler = GradScaler("cpu", **settings)
        self.cast_dtype = getattr(torch, dtype)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass."""
        with OptimWrapper.optim_context(self, model), torch.autocast("cpu", self.cast_dtype):
            yield


def cpu_has_bf16() -> bool:
    """Whether this processor computes with bfloat16, as far as PyTorch can tell."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older PyTorch
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
