"""Tensors that a published file has in parts and our models have as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint import Checkpoint


@dataclass(frozen=True)
class Join:
    """Parts that are concatenated over their first dimension.

    Attributes:
        whole: End of the joined tensor's name.
        parts: Ends of the parts' names, in order; a file with the first part has this join.
        zeros: Part that files may leave out, because it is zero.
        what: What was done, for people.
    """

    whole: str
    parts: tuple[str, ...]
    what: str
    zeros: str | None = None


_HEADS = "queries, keys and values joined"
#: EVA's attention, whose keys have no bias.
QKV_JOINS = (
    Join(
        ".attn.qkv.weight",
        (".attn.q_proj.weight", ".attn.k_proj.weight", ".attn.v_proj.weight"),
        _HEADS,
    ),
    Join(
        ".attn.qkv.bias", (".attn.q_bias", ".attn.k_bias", ".attn.v_bias"), _HEADS, ".attn.k_bias"
    ),
    Join(
        ".attn.qkv.bias",
        (".attn.q_proj.bias", ".attn.k_proj.bias", ".attn.v_proj.bias"),
        _HEADS,
        ".attn.k_proj.bias",
    ),
)
#: The two layers of a gated MLP, the activated one first.
GATE_JOINS = tuple(
    Join(f".mlp.fc1.{kind}", (f".mlp.fc1_g.{kind}", f".mlp.fc1_x.{kind}"), "gate and values joined")
    for kind in ("weight", "bias")
)


def join_parts(state: Checkpoint, joins: Sequence[Join]) -> dict[str, tuple[list[str], str]]:
    """Join parts of weights in place.

    Returns:
        For each joined name, the names of its parts and what was done.

    Raises:
        CheckpointError: A part is missing.
    """
    joined = {}
    for join in joins:
        stems = [key.removesuffix(join.parts[0]) for key in state if key.endswith(join.parts[0])]
        for stem in stems:
            names = [stem + part for part in join.parts]
            if missing := [n for n in names if n not in state and n != stem + str(join.zeros)]:
                raise state.error(f"lacks {missing[0]}", "give a complete file")
            parts = [state.get(name) for name in names]
            filled = [torch.zeros_like(state[names[0]]) if part is None else part for part in parts]
            held = [name for name in names if state.pop(name, None) is not None]
            state[stem + join.whole] = torch.cat(filled)
            joined[stem + join.whole] = held, join.what
    return joined


def without_key_bias(bias: Tensor) -> Tensor:
    """A bias of queries, keys and values, (3·C,), with that of the keys at zero."""
    queries, keys, values = bias.chunk(3)
    return torch.cat([queries, torch.zeros_like(keys), values]) if keys.any() else bias
