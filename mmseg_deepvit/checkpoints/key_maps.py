"""Tables that turn the parameter names of published files into ours, one for each family.

A table is a sequence of (pattern, replacement) pairs over full names. The first pattern that
matches renames a key, or drops it by a :class:`Drop`. A key without a match keeps its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Drop:
    """Replacement that leaves the key out, and says why."""

    why: str


KeyMap = Sequence[tuple[str, str | Drop]]

#: Classifiers, distillation heads and pooling heads.
CLASSIFIERS: KeyMap = (
    (
        r"(head|head_dist|aux_head|patch_head|fc|classifier|pre_logits|fc_norm|attn_pool)\..*",
        Drop("classifier"),
    ),
)

#: Parts that only pretraining on masked or distilled images uses.
PRETRAINING: KeyMap = (
    (r"mask_token|decoder_(embed|blocks|norm|pred)\..*|decoder_pos_embed", Drop("pretraining")),
    (r"(dino_head|ibot_head)\..*", Drop("pretraining")),
)

#: The 1×1 convolution that mixes maps and its BatchNorm ``var_norm``.
DEEPVIT: KeyMap = (
    *CLASSIFIERS,
    (r"(blocks\.\d+\.attn)\.reatten_matrix\.(weight|bias)", r"\1.post_mix.\2"),
    (r"(blocks\.\d+\.attn)\.var_norm\.(.+)", r"\1.mix_norm.\2"),
)

DIVERSE_PATCH: KeyMap = (
    *CLASSIFIERS,
    (r"(blocks\.\d+\.attn)\.proj_(pre|post)\.(.+)", r"\1.\2_mix.\3"),
)

#: LayerScale as DeiT, CaiT and BEiT name it.
GAMMAS: KeyMap = ((r"(blocks\.\d+|blocks_token_only\.\d+)\.gamma_([12])", r"\1.ls\2.gamma"),)

CAIT: KeyMap = (
    *CLASSIFIERS,
    *GAMMAS,
    (r"(blocks\.\d+\.attn)\.proj_l\.(.+)", r"\1.pre_mix.\2"),
    (r"(blocks\.\d+\.attn)\.proj_w\.(.+)", r"\1.post_mix.\2"),
)

#: A distilled DeiT's second token acts on the patch tokens as a register does.
VIT: KeyMap = (*CLASSIFIERS, *PRETRAINING, *GAMMAS, ("dist_token", "reg_token"))

#: Files of sharded training number a block twice: in its chunk, then in the model, which counts.
DINOV2: KeyMap = (
    *CLASSIFIERS,
    *PRETRAINING,
    ("register_tokens", "reg_token"),
    (r"blocks\.(?:\d+\.)?(\d+)\.mlp\.w12\.(.+)", r"blocks.\1.mlp.fc1.\2"),
    (r"blocks\.(?:\d+\.)?(\d+)\.mlp\.w3\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    (r"blocks\.\d+\.(\d+\..+)", r"blocks.\1"),
)

#: OpenMMLab's words for the parts that its vision transformers share.
OPENMMLAB: KeyMap = (
    *CLASSIFIERS,
    *PRETRAINING,
    (r"patch_embed\.projection\.(.+)", r"patch_embed.proj.\1"),
    (r"ln1\.(.+)", r"norm.\1"),
    (r"layers\.(\d+)\.ln([12])\.(.+)", r"blocks.\1.norm\2.\3"),
    (r"layers\.(\d+)\.ffn\.layers\.0\.0\.(.+)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.1\.(.+)", r"blocks.\1.mlp.fc2.\2"),
)

MMSEG_VIT: KeyMap = (
    *OPENMMLAB,
    (r"layers\.(\d+)\.attn\.attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (r"layers\.(\d+)\.attn\.attn\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
)

MMPRETRAIN_VIT: KeyMap = (
    *OPENMMLAB,
    (r"ln2\..+", Drop("classifier")),
    ("dist_token", "reg_token"),
    (r"layers\.(\d+)\.attn\.gamma1\.weight", r"blocks.\1.ls1.gamma"),
    (r"layers\.(\d+)\.ffn\.gamma2\.weight", r"blocks.\1.ls2.gamma"),
    (r"layers\.(\d+)\.attn\.(qkv|proj)\.(.+)", r"blocks.\1.attn.\2.\3"),
)


def rename_key(key: str, key_map: KeyMap) -> str | Drop:
    """The new name that a table gives to a key, or its :class:`Drop`."""
    for pattern, replacement in key_map:
        match = re.fullmatch(pattern, key)
        if match:
            return replacement if isinstance(replacement, Drop) else match.expand(replacement)
    return key


def mix_matrix(weight: Tensor) -> Tensor:
    """The (H, H) matrix of a mix over H heads, given as such or as 1×1 convolution (H, H, 1, 1)."""
    return weight.flatten(1) if weight.ndim == 4 else weight


def summarize_keys(keys: Sequence[str]) -> str:
    """Write many parameter names as one line: numbered blocks are folded together.

    Example:
        >>> summarize_keys(['blocks.0.norm.bias', 'blocks.1.norm.bias', 'norm.bias'])
        'blocks.*.norm.bias (2), norm.bias'
    """
    counts: dict[str, int] = {}
    for key in keys:
        folded = re.sub(r"\.\d+\.", ".*.", key, count=1)
        counts[folded] = counts.get(folded, 0) + 1
    return ", ".join(f"{k} ({n})" if n > 1 else k for k, n in counts.items())
