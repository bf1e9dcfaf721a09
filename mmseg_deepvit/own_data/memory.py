"""Memory that a training step takes, counted without running it.

The segmentor is built on PyTorch's meta device. Saved tensors of the forward pass are counted once
each, with weights, gradients and AdamW's two moments.

Real steps on a CPU (UPerNet on DeepViT, 64² to 352², 4 to 32 images) took a peak of 0.1 to 1.5 GB,
and the estimate was 0.8 to 1.1 of that. On GPUs it was not measured. The process itself and a GPU's
context (about 0.5 GB) come on top. Losses are cross-entropy of all heads, without Dice and
diversity losses.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import Tensor

from ..attention import HeadMixingAttention

#: What gradients in passing, copies in other layouts and the allocator add.
_MARGIN = 1.3


def training_memory(model_cfg: ConfigDict, batch_size: int, in_channels: int, crop: int) -> int:
    """Estimate the peak memory of a training step in float32.

    Args:
        model_cfg: ``cfg.model`` of a config.
        batch_size: Images of a step.
        in_channels: Bands of the images.
        crop: Side of the training crop in pixels.

    Returns:
        Bytes.
    """
    cfg = model_cfg.copy()
    cfg.backbone = ConfigDict({k: v for k, v in cfg.backbone.items() if k != "init_cfg"})
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmseg's, of settings that all our configs have
        model = MODELS.build(cfg)
    model.to("meta").train()
    for module in model.modules():
        if isinstance(module, HeadMixingAttention) and module.post_mix is not None:
            module.backend = "blockwise"  # maps are not kept, as in the compiled backends
    weights: int = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    images = torch.empty(batch_size, in_channels, crop, crop, device="meta")
    in_step = 4 * weights  # parameters, gradients, two moments
    return round(_MARGIN * (in_step + images.nbytes + _saved_bytes(model, images)))


def _saved_bytes(model: Any, images: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, and what that adds at its peak."""
    own = {_storage(t) for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = model.extract_feat(images)
        heads = [model.decode_head]
        if model.with_auxiliary_head:
            heads.append(model.auxiliary_head)
        for head in heads:
            logits = F.interpolate(head.forward(features), images.shape[-2:], mode="bilinear")
            labels = logits.new_empty(logits[:, 0].shape, dtype=torch.long)
            F.cross_entropy(logits, labels, reduction="none")
    sizes = [tensor.untyped_storage().nbytes() for tensor in kept.values()]
    # The backward pass holds the gradient of one tensor, and a copy in another layout.
    return sum(sizes) + 2 * max(sizes)


def _storage(tensor: Tensor) -> int:
    """Number that tensors share that share memory."""
    number: int = tensor.untyped_storage()._cdata
    return number


def memory_words(size: int) -> str:
    """Bytes as GB (10⁹) with two digits."""
    return f"{size / 1e9:.2g} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"
