"""Count parameters and operations of a model, head mixing included.

Reference: PyTorch's ``torch.utils.flop_counter`` counts the matrix products and convolutions that
run. The maps are built for it on the meta device, without memory, so that mixing counts (mmengine's
counter does not know it) and every backend counts the same.
Deviations: none; softmax, norms and other elementwise work are not counted, as is usual.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..attention import HeadMixingAttention
from ..inference import input_channels


class Cost(NamedTuple):
    """Cost of a model.

    Attributes:
        parameters: Number of learned values, auxiliary heads included.
        flops: Number of floating-point operations of one image's inference; a multiplication and an
            addition are two.
        parts: ``flops`` of backbone, neck and heads.
    """

    parameters: int
    flops: int
    parts: dict[str, int]


def count_cost(model_cfg: ConfigDict, shape: tuple[int, int]) -> Cost:
    """Build a segmentor without its weights and count one image's forward.

    Args:
        model_cfg: ``cfg.model`` of a config.
        shape: Height and width of the image in pixels.

    Returns:
        Cost of one image of this size, or of one window of a larger one.
    """
    cfg = model_cfg.copy()
    cfg.backbone = ConfigDict({k: v for k, v in cfg.backbone.items() if k != "init_cfg"})
    # mmseg's Swin reads values of tensors while it is built, and meta tensors have none.
    with torch.device("cpu" if cfg.backbone.type == "SwinTransformer" else "meta"):
        model = MODELS.build(cfg)
    model.to("meta").eval()
    for module in model.modules():
        if isinstance(module, HeadMixingAttention):
            module.backend = "explicit"
    image = torch.empty(1, input_channels(cfg), *shape, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image, mode="tensor")
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, counter.get_total_flops(), _parts(model, counter))


def _parts(model: nn.Module, counter: FlopCounterMode) -> dict[str, int]:
    counts: dict[str, Any] = counter.get_flop_counts()
    parts = {}
    for name in ("backbone", "neck"):
        if operations := counts.get(f"{type(model).__name__}.{name}"):
            parts[name] = sum(operations.values())
    # mmseg calls its heads in a way that hooks do not see.
    parts["heads"] = counter.get_total_flops() - sum(parts.values())
    return parts


def cost_line(cost: Cost, shape: tuple[int, int]) -> str:
    """Parameters and operations in words, for the headers of configs."""
    billions = cost.flops / 1e9
    operations = f"{billions:.0f}" if billions >= 1 else f"{billions:.1g}"
    return f"{cost.parameters / 1e6:.1f} M parameters, {operations} GFLOPs at {shape[0]}×{shape[1]}"
