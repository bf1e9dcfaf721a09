"""The backbone that training starts from: a file's architecture, or a small one from scratch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmseg.registry import MODELS

from ..backbones import cait, deepvit, diverse_patch_vit, plain_vit
from ..checkpoints import TIMM_SCHEME, Conversion, Normalization, read_backbone, summarize_keys
from ..checkpoints.normalization import CLIP, HALF, IMAGENET
from ..checkpoints.timm_hub import pretrained_cfg, timm_normalization
from ..errors import CheckpointError, UserError

#: Types of backbones, and their published architectures.
BACKBONES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "deepvit": ("DeepViT", deepvit.ARCHS),
    "cait": ("CaiT", cait.ARCHS),
    "diversepatch": ("DiversePatchViT", diverse_patch_vit.ARCHS),
    "vit": ("PlainViT", plain_vit.ARCHS),
}
#: Values of ``--normalization``.
NORMALIZATIONS = {"imagenet": IMAGENET, "half": HALF, "clip": CLIP}

#: Parts of a backbone that a plain transformer lacks; a warm start fills them.
_FILLED = ("pre_mix.", "post_mix.", "mix_norm.", ".ls1.", ".ls2.")
#: Width and heads of models from scratch, up to a number of training images.
_WIDTHS = ((2000, 64, 4), (20000, 192, 6), (float("inf"), 384, 12))
_DEPTH = 12


@dataclass(frozen=True)
class Start:
    """A backbone to train.

    Attributes:
        settings: Arguments of the backbone in the config, its ``type`` first.
        normalization: Normalisation that the weights need; None from scratch.
        embed_dims: Width of its tokens.
        num_layers: Number of its blocks.
        patch_size: Side of a patch, in pixels.
        is_pretrained: Whether it begins at a file.
        notes: What was decided, for people.
    """

    settings: dict[str, Any]
    normalization: Normalization | None
    embed_dims: int
    num_layers: int
    patch_size: int
    is_pretrained: bool
    notes: list[str] = field(default_factory=list)

    @property
    def out_indices(self) -> tuple[int, ...]:
        """Blocks after each quarter."""
        return tuple(round((i + 1) * self.num_layers / 4) - 1 for i in range(4))


def from_scratch(backbone: str, num_images: int, crop: int, in_channels: int) -> Start:
    """A small backbone for a number of training images.

    Args:
        backbone: Key of :data:`BACKBONES`.
        num_images: Number of training images.
        crop: Side of the training crop in pixels; small ones get small patches.
        in_channels: Bands of the images.
    """
    width, heads = next((w, h) for most, w, h in _WIDTHS if num_images < most)
    settings: dict[str, Any] = dict(
        type=BACKBONES[backbone][0],
        arch=dict(embed_dims=width, num_layers=_DEPTH, num_heads=heads, mlp_ratio=4),
        patch_size=8 if crop <= 256 else 16,
    )
    if in_channels != 3:
        settings["in_channels"] = in_channels
    if backbone == "deepvit":
        settings["mix_norm_cfg"] = dict(type="BN")
    if backbone == "cait":
        settings["layer_scale_init"] = 0.1  # the paper's up to 18 blocks
    note = f"no --weights: {_DEPTH} blocks of width {width} from scratch, for {num_images} images"
    return Start(settings, None, width, _DEPTH, settings["patch_size"], False, [note])


def from_weights(backbone: str, weights: str, normalization: str | None = None) -> Start:
    """The architecture of a file's weights.

    Args:
        backbone: Key of :data:`BACKBONES`.
        weights: Path, address or ``timm://NAME``.
        normalization: Key of :data:`NORMALIZATIONS`; None takes the file's own.

    Raises:
        CheckpointError: The file cannot be read, or fits no architecture of the backbone.
        UserError: The file does not tell its normalisation.
    """
    kind = BACKBONES[backbone][0]
    conversion = read_backbone(weights, "trunk")
    name = _timm_name(weights)
    fitting = (
        fit for c in _candidates(backbone, conversion, name) if (fit := _fit(kind, c, conversion))
    )
    found = next(fitting, None)
    if found is None:
        held = summarize_keys(list(conversion.state)[:3])
        raise conversion.state.error(
            f"fits no architecture of {kind} that is known (it holds {held}, …)",
            "give another --backbone, weights as timm://NAME, or a file named as timm's model",
        )
    settings, model, is_warm = found
    own = conversion.normalization or (timm_normalization(name) if name else None)
    chosen = NORMALIZATIONS[normalization] if normalization else own
    if chosen is None:
        raise UserError(
            f"{weights} does not tell how its images were normalised; give --normalization "
            "imagenet (DeiT, DINO, MAE), half (augreg, google-research) or clip"
        )
    init = dict(type="Pretrained", checkpoint=_absolute(weights))
    settings["init_cfg"] = {**init, "warm_start": True} if is_warm else init
    notes = [f"{kind} as {settings['arch']}, from {weights}"]
    if is_warm:
        notes.append("a plain transformer's weights: the mixes of heads begin at the identity")
    return Start(
        settings, chosen, model.embed_dims, model.num_layers, model.patch_size[0], True, notes
    )


def _absolute(weights: str) -> str:
    return weights if "://" in weights else os.path.abspath(Path(weights).expanduser())


def _timm_name(weights: str) -> str | None:
    """``timm://NAME`` that is given, or that a file is named after, else None."""
    if weights.startswith(TIMM_SCHEME):
        return weights
    stem = weights.rsplit("/", 1)[-1].removesuffix(".safetensors").removesuffix(".pth")
    try:
        pretrained_cfg(stem)
    except CheckpointError:
        return None
    return TIMM_SCHEME + stem


def _candidates(
    backbone: str, conversion: Conversion, name: str | None
) -> Iterator[dict[str, Any]]:
    """Architectures to compare with a file, the likeliest first."""
    _, archs = BACKBONES[backbone]
    if name:
        yield dict(arch=name)
    for arch in archs:
        yield dict(arch=arch)
    if plain := _read_sizes(conversion):
        yield plain


def _read_sizes(conversion: Conversion) -> dict[str, Any] | None:
    """Arguments of a plain transformer or a DINOv3 by its weights' shapes.

    Published heads are 64 wide, those of DINOv3's 7B 128.
    """
    state = conversion.state
    projection, hidden, last = (
        state.get(f"{k}.weight")
        for k in ("patch_embed.proj", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2")
    )
    if projection is None or hidden is None or last is None or projection.ndim != 4:
        return None
    width = len(projection)
    if width % 64 or conversion.rotary not in (None, "dinov3"):
        return None  # other rotary positions have a grid that no shape tells
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    arch = dict(
        embed_dims=width, num_layers=depth, num_heads=width // (128 if width > 2048 else 64)
    )
    settings: dict[str, Any] = dict(
        arch=dict(arch, mlp_ratio=last.shape[-1] / width),
        patch_size=projection.shape[-1],
        with_cls_token="cls_token" in state,
    )
    if len(hidden) == 2 * last.shape[-1]:
        settings["gated_mlp"] = True
    if conversion.rotary == "dinov3":
        settings |= dict(rope="dinov3", with_pos_embed=False, norm_eps=1e-5)
        settings["qkv_bias"] = "blocks.0.attn.qkv.bias" in state
    if (registers := state.get("reg_token")) is not None:
        settings["num_register_tokens"] = registers.shape[-2]
    if (scale := state.get("blocks.0.ls1.gamma")) is not None:
        settings["layer_scale_init"] = float(scale.abs().mean()) or 1e-5
    return settings


def _fit(
    kind: str, candidate: dict[str, Any], conversion: Conversion
) -> tuple[dict[str, Any], Any, bool] | None:
    """Settings, model and whether the start is warm, if a file fits an architecture."""
    state = conversion.state
    mixes = any("_mix." in key for key in state)
    settings: dict[str, Any] = {"type": kind, **candidate}
    if kind == "DeepViT" and not mixes:
        settings["mix_norm_cfg"] = None  # it would scale maps that the weights know unscaled
    if kind in ("DeepViT", "CaiT") and not mixes:
        settings["mix_bias"] = False  # its gradient would drown the others
    try:
        with torch.device("meta"):
            model = MODELS.build(settings)
    except (TypeError, ValueError, CheckpointError):
        return None
    own = model.state_dict()
    same = all(own[k].shape == v.shape for k, v in state.items() if k in own and k != "pos_embed")
    core = ("blocks.", "patch_embed.", "cls_token", "reg_token", "norm_pre.", "pos_embed")
    class_blocks = any(key.startswith("blocks_token_only.") for key in state)
    extra = [k for k in state if k.startswith(core) and k not in own]
    if class_blocks:  # CaiT's class token lives there
        extra = [k for k in extra if k != "cls_token"]
    lacking = [k for k in own if k.startswith(core) and k not in state and "num_batches" not in k]
    unfilled = [k for k in lacking if not any(part in k for part in _FILLED)]
    if not same or extra or [k for k in unfilled if k != "patch_embed.proj.bias"]:
        return None
    return settings, model, any("_mix." in key for key in lacking)
