"""Weights of a trunk that starts from scratch.

Reference: timm ``models/vision_transformer.py`` (truncated normal of deviation 0.02); for the mixes
zhoudaquan/dvit_repo (a convolution's own initialisation) and timm ``models/cait.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from .vit import ViTTrunk

#: How the head mixes may start: as PyTorch starts a linear layer or 1×1 convolution (DeepViT), as
#: all other layers (CaiT, DiversePatch), or as no mixing at all.
MIX_INITS = ("uniform", "trunc_normal", "identity")


def initialize_from_scratch(model: ViTTrunk) -> None:
    """Truncated normals of deviation 0.02, zero biases; the mixes as ``model.mix_init`` says."""
    for tokens in (model.pos_embed, model.cls_token, model.reg_token):
        if tokens is not None:
            nn.init.trunc_normal_(tokens, std=0.02)
    for name, module in model.named_modules():
        if name == "patch_embed":
            for part in module.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
        elif isinstance(module, nn.Linear):
            is_mix = name.endswith(("pre_mix", "post_mix"))
            _initialize_linear(module, model.mix_init if is_mix else "trunc_normal")


@torch.no_grad()
def _initialize_linear(linear: nn.Linear, how: str) -> None:
    if how == "uniform":
        linear.reset_parameters()
        return
    if how == "identity":
        nn.init.eye_(linear.weight)
    else:
        nn.init.trunc_normal_(linear.weight, std=0.02)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
