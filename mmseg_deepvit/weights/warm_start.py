"""A warm start: a head-mixing trunk begins as a pretrained plain transformer.

A plain transformer is a head-mixing one whose mixes are the identity, so its weights fit; training
then learns to mix. A BatchNorm of the maps would scale maps of size 1/N to size 1. With
γ² = σ² + ε and β = μ it changes nothing in inference. In training it changes nothing as far as the
σ of a batch agrees with the calibrated one.

Paper: head mixing, https://arxiv.org/abs/2103.11886; warm start: none that we know of.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from ..attention import HeadMixingAttention, Rotation
from ..backbones.arguments import check_range
from ..backbones.block import is_batch_norm
from ..backbones.vit import ViTTrunk
from ..errors import CheckpointError
from ..module_calls import Call, evaluation, watch_calls


def unmixed_state(model: ViTTrunk, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a trunk that a plain transformer lacks, with values that have no effect.

    Args:
        model: Trunk that the weights go into.
        state: Weights of the plain transformer, in the trunk's names.

    Returns:
        Mixes at the identity, map norms without effect in evaluation, LayerScale of one.

    Raises:
        CheckpointError: The model cannot begin as a plain transformer; the message names the
            argument to set.
    """
    for name, value in _factors(model):
        if value != 1:
            raise CheckpointError(
                f"with {name}={value:.4g} the model is another function than the pretrained one; "
                f"a warm start needs {name}=1.0"
            )
    filled = {}
    for key, value in model.state_dict().items():
        if key in state:
            continue
        if key.endswith(("pre_mix.weight", "post_mix.weight")):
            filled[key] = torch.eye(len(value), dtype=value.dtype)
        elif key.endswith(("pre_mix.bias", "post_mix.bias")):
            filled[key] = torch.zeros_like(value)
        elif key.endswith((".ls1.gamma", ".ls2.gamma")):
            filled[key] = torch.ones_like(value)
    for name, norm in map_norms(model).items():
        if f"{name}.weight" not in state:
            filled.update(_norm_without_effect(name, norm))
    return filled


def repeated_state(model: ViTTrunk, state: dict[str, Tensor], times: int) -> dict[str, Tensor]:
    """Weights of a deeper trunk, in which copies follow each block and have nearly no effect.

    Args:
        model: Trunk that the weights go into, with LayerScale.
        state: Weights of a shallower trunk; not changed.
        times: Number of times that the deeper one has each block.

    Returns:
        The weights; the copies have the model's LayerScale.

    Raises:
        CheckpointError: The model has no LayerScale, which the copies need.
        ValueError: ``times`` is below 1.
    """
    check_range("repeat_blocks", times, 1)
    own = model.state_dict()
    if "blocks.0.ls1.gamma" not in own:
        raise CheckpointError(
            "repeat_blocks needs a model whose copies begin small; set layer_scale_init=1e-5"
        )
    repeated = {}
    for key, value in state.items():
        if not key.startswith("blocks."):
            repeated[key] = value
            continue
        _, number, name = key.split(".", 2)
        for i in range(int(number) * times, (int(number) + 1) * times):
            repeated[f"blocks.{i}.{name}"] = value
    copies = {
        key: value
        for key, value in own.items()
        if key.endswith((".ls1.gamma", ".ls2.gamma")) and int(key.split(".")[1]) % times
    }
    return {**repeated, **copies}


def _factors(model: ViTTrunk) -> list[tuple[str, float]]:
    blocks: list[Any] = list(model.blocks)
    mixing = [block.attn for block in blocks if block.attn.pre_mix or block.attn.post_mix]
    return [
        *(("residual_scale", block.residual_scale) for block in blocks),
        *(("mix_scale", attention.mix_scale) for attention in mixing),
    ]


def map_norms(model: nn.Module) -> dict[str, Any]:
    """Norms of a model's attention maps, by name."""
    return {
        f"{name}.mix_norm": module.mix_norm
        for name, module in model.named_modules()
        if isinstance(module, HeadMixingAttention) and module.mix_norm is not None
    }


def _norm_without_effect(name: str, norm: Any) -> dict[str, Tensor]:
    if not is_batch_norm(norm):
        raise CheckpointError(
            f"a {type(norm).__name__} of the maps always changes them, and a warm start must not; "
            "set mix_norm_cfg to None or dict(type='BN')"
        )
    var = torch.ones_like(norm.running_var)
    return {
        f"{name}.weight": (var + norm.eps).sqrt(),
        f"{name}.bias": torch.zeros_like(var),
        f"{name}.running_mean": torch.zeros_like(var),
        f"{name}.running_var": var,
    }


def uncalibrated_map_norms(backbone: nn.Module) -> list[str]:
    """Names of the maps' BatchNorms that no training and no calibration has updated."""
    return [
        name
        for name, norm in map_norms(backbone).items()
        if is_batch_norm(norm) and not norm.num_batches_tracked
    ]


def biases_without_norm(model: ViTTrunk) -> list[str]:
    """Names of the biases of post mixes that no norm follows.

    Such a bias adds to each of a query's N probabilities, so that its gradient grows with the sum
    of all N values. A norm of the maps cancels it.
    """
    return [
        f"{name}.post_mix.bias"
        for name, module in model.named_modules()
        if isinstance(module, HeadMixingAttention)
        and module.mix_norm is None
        and module.post_mix is not None
        and module.post_mix.bias is not None
    ]


@torch.no_grad()
def calibrate_map_norms(backbone: nn.Module, batches: Iterable[Tensor]) -> list[str]:
    """Set the maps' BatchNorms that saw no data so that they have no effect, in training too.

    The backbone runs in evaluation mode without those norms. Mean μ and variance σ² of the maps
    that would enter each norm are averaged over batches and processes. Then γ² = σ² + ε, β = μ, and
    the running statistics are μ and σ².

    Args:
        backbone: Module that contains :class:`~mmseg_deepvit.attention.HeadMixingAttention`; its
            norms are changed in place.
        batches: Normalised images as in training (crop, device), (B, 3, H, W) each.

    Returns:
        Names of the norms that were calibrated; blocks that do not run are left out.

    Raises:
        ValueError: There are norms to calibrate and no batch.
    """
    names = uncalibrated_map_norms(backbone)
    if not names:
        return []
    attentions: list[Any] = [backbone.get_submodule(name.rpartition(".")[0]) for name in names]
    norms = [attention.mix_norm for attention in attentions]
    moments: list[list[Tensor]] = [[] for _ in names]

    def see(i: int, call: Call) -> None:
        moments[i].append(_measure(call.module, *call.args))

    with ExitStack() as stack:
        stack.enter_context(evaluation(backbone))
        stack.enter_context(watch_calls(dict(enumerate(attentions)), see))
        for attention, norm in zip(attentions, norms, strict=True):
            stack.callback(setattr, attention, "mix_norm", norm)
            attention.mix_norm = None
        for batch in batches:
            backbone(batch)
    if not any(moments):
        raise ValueError(f"calibrating {', '.join(names)} needs at least one batch, got none")
    for norm, seen in zip(norms, moments, strict=True):
        if seen:
            _set_without_effect(norm, torch.stack(seen).mean(0), len(seen))
    return [name for name, seen in zip(names, moments, strict=True) if seen]


def _measure(attention: Any, x: Tensor, rotation: Rotation | None = None) -> Tensor:
    """Mean and biased variance of the mixed maps, (2, H), measured by a temporary norm."""
    probe: Any = nn.BatchNorm2d(attention.num_heads, affine=False, momentum=1.0)
    probe.to(attention.qkv.weight)
    attention.mix_norm = probe
    attention.forward(x, rotation)  # a call of the module itself would run the hooks
    attention.mix_norm = None
    count = x.shape[0] * x.shape[1] ** 2
    return torch.stack([probe.running_mean, probe.running_var * (count - 1) / count])


def _set_without_effect(norm: Any, moments: Tensor, num_batches: int) -> None:
    all_reduce(moments, op="mean")
    mean, var = moments
    norm.weight.copy_((var + norm.eps).sqrt())
    norm.bias.copy_(mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.num_batches_tracked.fill_(num_batches)
