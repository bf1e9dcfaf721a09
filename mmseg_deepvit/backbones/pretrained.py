"""Fit published weights into a trunk: positions to its grid, a clear word on what does not fit."""

from __future__ import annotations

import logging
import math
import os
import re
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor

from ..checkpoints import DEEPVIT, find_state_dict, read_checkpoint, rename_keys, summarize_keys
from ..errors import CheckpointError
from .embed import Grid, resize_pos_embed

if TYPE_CHECKING:
    from .vit import ViTTrunk

#: Part of a missing or unexpected name, what it means, what to do about it.
_HINTS = (
    ("post_mix", "Re-attention", "num_mixing_layers"),
    ("mix_norm", "a norm of the mixed maps", "mix_norm_cfg"),
    ("pre_mix", "mixing before the softmax", "pre_mix"),
    ("patch_embed.conv", "a convolutional stem", "stem"),
    ("qkv.bias", "a bias of queries, keys and values", "qkv_bias"),
    ("cls_token", "a class token", "with_cls_token"),
)


def load_pretrained(
    model: ViTTrunk, checkpoint: str | os.PathLike, pos_grid: Grid | None = None
) -> None:
    """Load a published or own checkpoint into a trunk.

    Containers, prefixes, published names and classifiers are seen to by
    :mod:`mmseg_deepvit.checkpoints`; position embeddings of another grid are resized. One line
    each is logged for what was loaded, missing keys and unexpected keys.

    Args:
        model: The backbone; changed in place, or not at all where an error is raised.
        checkpoint: A file, or an http(s) address.
        pos_grid: Height and width of the grid that the file's position embeddings were made for.
            Needed only where it is neither the model's, nor square, nor of the model's aspect.

    Raises:
        CheckpointError: The file cannot be read, or belongs to another model. The message says what
            differs.
    """
    state = find_state_dict(read_checkpoint(checkpoint), checkpoint)
    state, dropped = rename_keys(state, DEEPVIT)
    own = model.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    _check_names(model, checkpoint, state, missing, unexpected)
    if "pos_embed" in state:
        state["pos_embed"] = _fit_pos_embed(model, state["pos_embed"], pos_grid, checkpoint)
    _check_shapes(checkpoint, own, state)
    model.load_state_dict(state, strict=False)

    without = f", without {summarize_keys(dropped)}" if dropped else ""
    print_log(
        f"Loaded {len(state) - len(unexpected)} tensors from {checkpoint}{without}", "current"
    )
    for what, keys in (("Missing", missing), ("Unexpected", unexpected)):
        if keys:
            line = f"{what} keys in {checkpoint}: {summarize_keys(keys)}"
            print_log(line, "current", logging.WARNING)


def _check_names(
    model: ViTTrunk,
    path: str | os.PathLike,
    state: dict[str, Tensor],
    missing: list[str],
    unexpected: list[str],
) -> None:
    """Blocks and patch embedding must agree in every name; the rest may be absent or in excess."""
    if "patch_embed.proj.weight" not in state or "blocks.0.attn.qkv.weight" not in state:
        raise CheckpointError(
            f"{path} is not a DeepViT checkpoint (it holds {summarize_keys(list(state)[:5])}, …): "
            "give a file of zhoudaquan/dvit_repo or of this backbone"
        )
    numbers = (re.match(r"blocks\.(\d+)\.", key) for key in state)
    depth = 1 + max(int(number[1]) for number in numbers if number)
    if depth != model.num_layers:
        raise CheckpointError(
            f"{path} has {depth} blocks and the model {model.num_layers}: set arch or "
            f"num_layers={depth} to match"
        )
    core = ("blocks.", "patch_embed.", "cls_token")
    lacks = [k for k in missing if k.startswith(core)]
    extra = [k for k in unexpected if k.startswith(core)]
    if lacks or extra:
        raise CheckpointError(f"{path} does not fit the model: {_explain(lacks, extra)}")


def _explain(lacks: list[str], extra: list[str]) -> str:
    for part, meaning, argument in _HINTS:
        for keys, owner in ((lacks, "the model"), (extra, "the file")):
            found = [k for k in keys if part in k]
            if found:
                names = summarize_keys(found)
                return f"only {owner} has {meaning} ({names}); set {argument} to match"
    return f"missing {summarize_keys(lacks) or '-'}; unexpected {summarize_keys(extra) or '-'}"


def _check_shapes(
    path: str | os.PathLike, own: dict[str, Tensor], state: dict[str, Tensor]
) -> None:
    unfit = [k for k in state if k in own and state[k].shape != own[k].shape]
    if unfit:
        key = unfit[0]
        raise CheckpointError(
            f"{path} does not fit the model in {len(unfit)} tensors, the first {key}: "
            f"{tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model; "
            "set arch, embed_dims, num_heads, mlp_ratio or patch_size to match"
        )


def _fit_pos_embed(
    model: ViTTrunk, pos_embed: Tensor, pos_grid: Grid | None, path: str | os.PathLike
) -> Tensor:
    num_prefix = model.num_prefix_tokens
    count = pos_embed.shape[1] - num_prefix
    grid = (pos_grid[0], pos_grid[1]) if pos_grid else guess_grid(count, model.patch_grid)
    if grid is None or grid[0] * grid[1] != count:
        raise CheckpointError(
            f"{path} has {count} patch positions, and the grid they form cannot be told: give its "
            "height and width, init_cfg=dict(type='Pretrained', checkpoint=…, pos_grid=(h, w))"
        )
    return resize_pos_embed(pos_embed, grid, model.patch_grid, num_prefix, model.interpolate_mode)


def guess_grid(count: int, own_grid: Grid) -> Grid | None:
    """Guess the grid of a file's position embeddings.

    Args:
        count: Number of patch positions in the file.
        own_grid: The model's grid (h, w).

    Returns:
        The model's own grid if it has as many positions, else a square, else a grid of the model's
        aspect ratio, else None.
    """
    if own_grid[0] * own_grid[1] == count:
        return own_grid
    side = math.isqrt(max(count, 0))
    if side * side == count:
        return side, side
    for height in range(1, count + 1):
        width, rest = divmod(count, height)
        if rest == 0 and height * own_grid[1] == width * own_grid[0]:
            return height, width
    return None
