"""Load a checkpoint of any origin into a trunk, or say what does not fit."""

from __future__ import annotations

import logging
import math
import os
import re

from mmengine.logging import print_log
from mmseg.registry import WEIGHT_INITIALIZERS
from timm.layers import resample_patch_embed
from torch import Tensor

from ..attention import HeadMixingAttention
from ..backbones.embed import Grid
from ..backbones.vit import TRUNK_LOADER, ViTTrunk
from ..checkpoints import (
    TIMM_SCHEME,
    Checkpoint,
    Conversion,
    read_backbone,
    summarize_keys,
    trunk_arguments,
)
from ..checkpoints.compatibility import check_kinds, check_shapes
from .positions import fit_positions
from .warm_start import (
    biases_without_norm,
    repeated_state,
    uncalibrated_map_norms,
    unmixed_state,
)

#: Part of a missing or unexpected name, its meaning, and the argument to set.
_HINTS = (
    (
        "post_mix",
        "mixing of attention maps",
        "type, num_mixing_layers or, to begin unmixed, warm_start",
    ),
    ("mix_norm", "a norm of the mixed maps", "mix_norm_cfg"),
    ("pre_mix", "mixing before the softmax", "type, pre_mix or, to begin unmixed, warm_start"),
    ("patch_embed.conv", "a convolutional stem", "stem"),
    ("qkv.bias", "a bias of queries, keys and values", "qkv_bias"),
    ("blocks_token_only", "class-attention blocks", "with_cls_blocks"),
    ("cls_token", "a class token", "with_cls_token"),
    ("reg_token", "register tokens", "num_register_tokens"),
    (".ls1.", "LayerScale", "layer_scale_init"),
    ("pos_embed", "position embeddings", "with_pos_embed (and rope)"),
    ("norm_pre", "a norm before the first block", "pre_norm"),
    ("mlp.norm", "a norm inside the MLP", "mlp_norm"),
)
#: Weights of the patch embedding, (C, 3, height, width).
_PROJECTION = "patch_embed.proj.weight"
#: Prefixes of names in which file and model must agree; others may be missing or unexpected.
_CORE = (
    "blocks.",
    "blocks_token_only.",
    "patch_embed.",
    "cls_token",
    "reg_token",
    "pos_embed",
    "norm_pre.",
)


@WEIGHT_INITIALIZERS.register_module(name=TRUNK_LOADER)
def load_pretrained(
    model: ViTTrunk,
    checkpoint: str | os.PathLike[str],
    pos_grid: Grid | None = None,
    warm_start: bool = False,
    weights: str | None = None,
    resize_patches: bool = False,
    repeat_blocks: int = 1,
) -> None:
    """Load a published or own checkpoint into a trunk.

    :mod:`mmseg_deepvit.checkpoints` reads the file and translates its names. Position embeddings of
    another grid are resized. The log has one line each for loaded, missing and unexpected keys.
    ``model.trained_input`` receives the normalisation of the training images, where it is known.

    Args:
        model: Backbone, changed in place; an error leaves it unchanged.
        checkpoint: Path of a file, http(s) address, or ``timm://NAME``.
        pos_grid: Height and width of the grid of the file's position embeddings. Needed only where
            the grid is neither the model's, nor square, nor of the model's aspect ratio.
        warm_start: Whether weights of a plain transformer are welcome: mixes then begin at the
            identity, norms of maps and LayerScale without effect.
        weights: Choice in files with a model and its moving average, ``'ema'`` or ``'model'``; None
            for the one whose accuracy was published (DeepViT: the average; DiversePatch, CaiT,
            DeiT: the model).
        resize_patches: Whether a patch embedding of another patch size is resized to the model's,
            such that a resized image gives nearly the same tokens (FlexiViT,
            https://arxiv.org/abs/2212.08013).
        repeat_blocks: Number of times that the model has each of the file's blocks in a row. Copies
            begin with the model's ``layer_scale_init``, so a small one leaves the output as it was.

    Raises:
        CheckpointError: The file cannot be read, or belongs to another model. The message names the
            difference.
        ValueError: ``weights`` is another string, or ``repeat_blocks`` is below 1.
    """
    conversion = read_backbone(checkpoint, "trunk", weights)
    state = conversion.state
    dropped = [*conversion.dropped, *_leave_out(model, state)]
    if repeat_blocks != 1:
        state = state.part(repeated_state(model, state, repeat_blocks))
    _check_blocks(model, state)
    filled = unmixed_state(model, state) if warm_start else {}
    own = model.state_dict()
    projections = [weights.get(_PROJECTION) for weights in (own, state)]
    if resize_patches and all(p is not None and p.ndim == 4 for p in projections):
        size = list(own[_PROJECTION].shape[2:])
        state[_PROJECTION] = resample_patch_embed(state[_PROJECTION], size)
    tracked = "num_batches_tracked"
    missing = [k for k in own if k not in state and k not in filled and not k.endswith(tracked)]
    unexpected = [k for k in state if k not in own]
    _check_names(state, missing, unexpected)
    check_kinds(own, state)
    grid = fit_positions(model, state, pos_grid) if model.pos_embed is not None else None
    _check_rotary(model, conversion, grid)
    check_shapes(own, state, _remedy(own, state))
    _check_heads(model, state, warm_start)
    model.load_state_dict({**state, **filled}, strict=False)
    model.trained_input = (state.path, conversion.normalization)

    without = f", without {summarize_keys(dropped)}" if dropped else ""
    print_log(
        f"Loaded {len(state) - len(unexpected)} tensors from {checkpoint}{without}", "current"
    )
    if filled:
        print_log(f"Begins unmixed: {summarize_keys(list(filled))}", "current")
    if norms := uncalibrated_map_norms(model) if warm_start else []:
        _warn(
            f"{len(norms)} norms of attention maps saw no data and would change the maps in "
            "training; add MapNormCalibrationHook to custom_hooks, or set mix_norm_cfg=None"
        )
    if biases := filled.keys() & set(biases_without_norm(model)):
        _warn(
            f"{len(biases)} mixes of attention maps have a bias and no norm; its gradient would "
            "drown the others: set mix_bias=False"
        )
    if grid and any(".post_mix." in key for key in state):
        _advise_map_tokens(model, grid, state.path)
    if conversion.family.name == "vit" and "norm_pre.weight" in state:
        _warn(
            f"{checkpoint} has a norm before the first block, as CLIP has, and does not tell its "
            "activation, which is GELU here; check that the weights are of no QuickGELU model"
        )
    for what, keys in (("Missing", missing), ("Unexpected", unexpected)):
        if keys:
            _warn(f"{what} keys in {checkpoint}: {summarize_keys(keys)}")


def _warn(message: str) -> None:
    print_log(message, "current", logging.WARNING)


def _advise_map_tokens(model: ViTTrunk, grid: Grid, path: str) -> None:
    trained, own = (model.num_prefix_tokens + math.prod(g) for g in (grid, model.patch_grid))
    attentions = [m for m in model.modules() if isinstance(m, HeadMixingAttention)]
    if any((m.map_tokens or own) != trained for m in attentions if m.post_mix is not None):
        _warn(
            f"{path} was trained to mix maps of {trained} tokens, and img_size gives {own}; "
            f"map_tokens={trained} keeps the effect of the mixes"
        )


def _leave_out(model: ViTTrunk, state: Checkpoint) -> list[str]:
    """Take out weights that have no effect in the trunk, and return their names."""
    dropped = []
    if (projection := state.get(_PROJECTION)) is not None:
        # mmseg's VisionTransformer has no such bias, which equals a bias of zero.
        state.setdefault("patch_embed.proj.bias", projection.new_zeros(len(projection)))
    biases = [key for key in state if key.endswith(".attn.qkv.bias")]
    has_biases = any(name.endswith(".attn.qkv.bias") for name, _ in model.named_parameters())
    if not has_biases and not any(state[key].any() for key in biases):
        # DINOv3's distilled models have biases that are all zero.
        dropped += biases
    class_blocks = [k for k in state if k.startswith("blocks_token_only.")]
    if class_blocks and getattr(model, "blocks_token_only", None) is None:
        # The class token of CaiT lives in these blocks alone.
        dropped += [*class_blocks, "cls_token"]
    for key in dropped:
        state.pop(key, None)
    return dropped


def _check_rotary(model: ViTTrunk, conversion: Conversion, grid: Grid | None) -> None:
    """Compare conventions of rotary positions, which leave no trace among the names."""
    wanted = conversion.rotary
    if wanted is None:
        return
    if model.rope is None or model.rope.type != wanted:
        has = "none" if model.rope is None else f"those of rope={model.rope.type!r}"
        raise conversion.state.error(
            f"has rotary positions and the model has {has}", f"set rope={wanted!r}"
        )
    if conversion.family.rotary == "pe" and model.rope.reference_grid != grid:
        differ = conversion.state.error(
            f"has rotary positions of a grid of {grid} and the model of "
            f"{model.rope.reference_grid}",
            f"set rope=dict(type='pe', reference_grid={grid})",
        )
        if conversion.family.name != "timm_pe_spatial":
            raise differ
        _warn(f"{differ}, unless the file is one of your own")  # whose names are the same


def _remedy(own: dict[str, Tensor], state: Checkpoint) -> str:
    """The arguments to set where shapes differ."""
    gates = (
        weights["blocks.0.mlp.fc1.weight"].shape[0] > weights["blocks.0.mlp.fc2.weight"].shape[1]
        for weights in (own, state)
    )
    if len(set(gates)) == 2:
        return "set gated_mlp to match"
    if own[_PROJECTION].shape[2:] != state[_PROJECTION].shape[2:]:
        return "set patch_size to match, or resize_patches=True in init_cfg"
    return "set arch, embed_dims, num_heads, mlp_ratio or patch_size to match"


def _check_blocks(model: ViTTrunk, state: Checkpoint) -> None:
    numbers = (re.match(r"blocks\.(\d+)\.", key) for key in state)
    depth = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    if depth != model.num_layers:
        raise state.error(
            f"has {depth} blocks and the model {model.num_layers}",
            f"set arch or num_layers={depth} to match",
        )


def _check_names(state: Checkpoint, missing: list[str], unexpected: list[str]) -> None:
    lacks = [k for k in missing if k.startswith(_CORE)]
    extra = [k for k in unexpected if k.startswith(_CORE)]
    for part, meaning, argument in _HINTS:
        for keys, owner in ((lacks, "the model"), (extra, "the file")):
            if found := [k for k in keys if part in k]:
                raise state.error(
                    f"does not fit the model: only {owner} has {meaning} ({summarize_keys(found)})",
                    f"set {argument} to match",
                )
    if lacks or extra:
        raise state.error(
            f"does not fit the model: it lacks {summarize_keys(lacks) or 'nothing'}, and has "
            f"{summarize_keys(extra) or 'nothing'} beside",
            "set arch and type to match",
        )


def _check_heads(model: ViTTrunk, state: Checkpoint, warm_start: bool) -> None:
    """Compare heads and ε of norms, which the weights of a plain transformer do not show."""
    path = state.path
    if path.startswith(TIMM_SCHEME):
        theirs = trunk_arguments(path)
        if theirs["num_heads"] != model.num_heads:
            raise state.error(
                f"has {theirs['num_heads']} heads and the model {model.num_heads}",
                f"set num_heads={theirs['num_heads']}",
            )
        if theirs["norm_eps"] != model.norm_eps:
            _warn(
                f"{path} has norms of ε = {theirs['norm_eps']:g} and the model of "
                f"{model.norm_eps:g}; set norm_eps={theirs['norm_eps']:g}"
            )
    elif warm_start and (width := model.embed_dims // model.num_heads) != 64:
        _warn(
            f"{path} does not tell its number of heads, and the model has heads of {width} "
            "channels where published plain transformers have 64; check num_heads"
        )
