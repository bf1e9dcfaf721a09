"""Weights of a trunk that starts from scratch.

Reference: timm ``models/vision_transformer.py`` (truncated normal of deviation 0.02); for the mixes
zhoudaquan/dvit_repo (a convolution's default initialisation) and timm ``models/cait.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

#: Initialisations of the head mixes: PyTorch's default of a 1×1 convolution (DeepViT), the one of
#: all other layers (CaiT, DiversePatch), or no mixing.
MIX_INITS = ("uniform", "trunc_normal", "identity")


def initialize_from_scratch(
    model: nn.Module, tokens: Iterable[Tensor | None], mix_init: str
) -> None:
    """Fill a trunk with truncated normals of deviation 0.02, and biases with zero.

    Args:
        model: Trunk, changed in place.
        tokens: Parameters of the trunk outside its layers: positions, class token, registers.
        mix_init: Initialisation of the mixes, one of :data:`MIX_INITS`.
    """
    for parameter in tokens:
        if parameter is not None:
            nn.init.trunc_normal_(parameter, std=0.02)
    for name, module in model.named_modules():
        if name == "patch_embed":
            for part in module.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
        elif isinstance(module, nn.Linear):
            is_mix = name.endswith(("pre_mix", "post_mix"))
            _initialize_linear(module, mix_init if is_mix else "trunc_normal")


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
