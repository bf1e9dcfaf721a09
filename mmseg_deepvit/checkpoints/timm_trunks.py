"""Arguments of our trunk for a vision transformer of timm.

Number of heads, ε of the norms and rotary positions leave no trace in a file of weights; timm's
model tells them.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..errors import CheckpointError
from .timm_hub import TIMM_SCHEME, pretrained_cfg

#: Blocks of timm's transformers that compute something else than our trunk's.
_FOREIGN = {
    "DiffParallelScalingBlock",
    "EvaBlockPostNorm",
    "ParallelScalingBlock",
    "ParallelThingsBlock",
    "ResPostBlock",
}
_GATED = {"GluMlp", "SwiGLU"}


def trunk_arguments(name: str) -> dict[str, Any]:
    """Arguments that make our trunk a vision transformer of timm.

    Args:
        name: Name of the model, with or without ``timm://`` and tag.

    Returns:
        Arguments of :class:`~mmseg_deepvit.backbones.vit.ViTTrunk`, without those of mixing.

    Raises:
        CheckpointError: timm has no such model, or our trunk lacks a part of it.
    """
    import timm

    name, _ = pretrained_cfg(name)
    try:
        with torch.device("meta"):  # no memory, no random numbers
            model: Any = timm.create_model(name)
    except (NotImplementedError, RuntimeError):  # older timm looks at values while it builds
        model = timm.create_model(name)
    known: Any = (timm.models.VisionTransformer, timm.models.Cait, timm.models.Eva)
    if not isinstance(model, known) or (foreign := _foreign_part(model.blocks[0])):
        has = f" (it has {foreign})" if isinstance(model, known) else ""
        raise CheckpointError(
            f"{TIMM_SCHEME}{name} is no plain vision transformer{has}; give a ViT, DeiT, DINOv2, "
            "DINOv3, EVA-02, Perception Encoder or CaiT"
        )
    # CaiT's class token enters after the blocks.
    num_prefix = 0 if isinstance(model, timm.models.Cait) else model.num_prefix_tokens
    has_class = num_prefix > 0 and model.cls_token is not None
    return {
        "img_size": tuple(model.patch_embed.img_size),
        "patch_size": tuple(model.patch_embed.patch_size),
        "embed_dims": model.embed_dim,
        "num_layers": len(model.blocks),
        "with_cls_token": has_class,
        "num_register_tokens": num_prefix - has_class,
        "with_pos_embed": model.pos_embed is not None,
        "interpolate_antialias": True,
        "pre_norm": _is_norm(getattr(model, "norm_pre", None)),
        "final_norm": _is_norm(model.norm),
        "rope": _rope(getattr(model, "rope", None), name),
        **_of_block(model.blocks[0], model.embed_dim),
    }


def _foreign_part(block: Any) -> str | None:
    """Name of a part that our trunk lacks, or None."""
    kind = type(block).__name__
    if kind in _FOREIGN:
        return kind
    gated = type(block.mlp).__name__ in _GATED
    wanted = "SiLU" if gated else "GELU"
    activation = type(block.mlp.act).__name__
    if activation != wanted or getattr(block.mlp.act, "approximate", "none") != "none":
        return f"the activation {block.mlp.act}"
    return "gates in the second half" if getattr(block.mlp, "gate_last", False) else None


def _of_block(block: Any, width: int) -> dict[str, Any]:
    attention, mlp = block.attn, block.mlp
    hidden = mlp.fc2.in_features
    ratio = hidden / width
    if int(width * ratio) < hidden:  # the trunk rounds down
        ratio = math.nextafter(ratio, math.inf)
    projection = getattr(attention, "qkv", None) or attention.q_proj
    scale = getattr(block, "ls1", None)
    initial = getattr(scale, "init_values", getattr(block, "init_values", None))
    if initial is None and getattr(block, "gamma_1", None) is not None:
        initial = 1e-5  # CaiT does not keep its value
    return {
        "num_heads": attention.num_heads,
        "qkv_bias": projection.bias is not None or getattr(attention, "q_bias", None) is not None,
        "mlp_ratio": ratio,
        "gated_mlp": type(mlp).__name__ in _GATED,
        "mlp_norm": _is_norm(getattr(mlp, "norm", None)),
        "norm_eps": block.norm1.eps,
        "layer_scale_init": initial,
    }


def _is_norm(module: Any) -> bool:
    return module is not None and not isinstance(module, torch.nn.Identity)


def _rope(rope: Any, name: str) -> dict[str, Any] | None:
    """Rotary positions as settings of :class:`~mmseg_deepvit.backbones.rotary.RotaryPositions`."""
    if rope is None:
        return None
    kind = type(rope).__name__
    if kind == "RotaryEmbeddingDinoV3" and rope.normalize_coords == "separate":
        return {"type": "dinov3", "base": rope.temperature, "interleaved": not rope.rotate_half}
    if kind == "RotaryEmbeddingCat" and not rope.in_pixels:
        columns_first = rope.grid_indexing == "xy"
        return {
            "type": "pe" if columns_first else "eva02",
            "base": float(rope.temperature),
            "reference_grid": rope.ref_feat_shape,
            "offset": float(rope.grid_offset),
            "columns_first": columns_first,
            "interleaved": not getattr(rope, "rotate_half", False),
        }
    raise CheckpointError(
        f"{TIMM_SCHEME}{name} has rotary positions of another kind ({kind}); give a DINOv3, EVA-02 "
        "or Perception Encoder"
    )
