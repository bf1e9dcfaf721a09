"""Names of vision transformers with rotary positions, in files of timm and of their authors.

Reference: facebookresearch/dinov3, baaivision/EVA (``EVA-02``), facebookresearch/perception_models;
timm ``models/eva.py``.
"""

from __future__ import annotations

from torch import Tensor

from .key_maps import CLASSIFIERS, GAMMAS, PRETRAINING, Drop, KeyMap

_COMPUTED = Drop("computed by the model")
#: Layers of a gated MLP: the activated one, the one that it multiplies, and the last.
_GATED: KeyMap = (
    (r"(blocks\.\d+\.mlp)\.w1\.(.+)", r"\1.fc1_g.\2"),
    (r"(blocks\.\d+\.mlp)\.w2\.(.+)", r"\1.fc1_x.\2"),
    (r"(blocks\.\d+\.mlp)\.w12\.(.+)", r"\1.fc1.\2"),
    (r"(blocks\.\d+\.mlp)\.w3\.(.+)", r"\1.fc2.\2"),
)

DINOV3: KeyMap = (
    *CLASSIFIERS,
    *PRETRAINING,
    *GAMMAS,
    *_GATED,
    ("storage_tokens", "reg_token"),
    (r"rope_embed\.periods|.+\.qkv\.bias_mask", _COMPUTED),
    (r"local_cls_norm\..+", Drop("pretraining")),
)

EVA02: KeyMap = (
    *CLASSIFIERS,
    *PRETRAINING,
    *GAMMAS,
    *_GATED,
    (r"lm_head\..+", Drop("pretraining")),
    (r"(.+\.)?rope\.freqs_(cos|sin)", _COMPUTED),
    (r"(blocks\.\d+\.mlp)\.ffn_ln\.(.+)", r"\1.norm.\2"),
)

PERCEPTION_ENCODER: KeyMap = (*CLASSIFIERS, *GAMMAS)


def perception_models(prefix: str, *others: tuple[str, Drop]) -> KeyMap:
    """New names for files of facebookresearch/perception_models, whose names are CLIP's.

    Args:
        prefix: Pattern of the start of all names.
        *others: Patterns of names to leave out.
    """
    block = rf"{prefix}transformer\.resblocks\.(\d+)\."
    return (
        (rf"{prefix}conv1\.weight", "patch_embed.proj.weight"),
        (rf"{prefix}class_embedding", "cls_token"),
        (rf"{prefix}positional_embedding", "pos_embed"),
        (rf"{prefix}ln_pre\.(.+)", r"norm_pre.\1"),
        (rf"{prefix}ln_post\.(.+)", r"norm.\1"),
        (rf"{block}ln_([12])\.(.+)", r"blocks.\1.norm\2.\3"),
        (rf"{block}ls_([12])\.gamma", r"blocks.\1.ls\2.gamma"),
        (rf"{block}attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
        (rf"{block}attn\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
        (rf"{block}mlp\.c_fc\.(.+)", r"blocks.\1.mlp.fc1.\2"),
        (rf"{block}mlp\.c_proj\.(.+)", r"blocks.\1.mlp.fc2.\2"),
        (rf"{prefix}(attn_pool\..+|proj)", Drop("classifier")),
        (rf"{prefix}rope\..+", _COMPUTED),
        *others,
    )


def with_batch(tokens: Tensor) -> Tensor:
    """Tokens or positions, (C,) or (N, C), as (1, N, C)."""
    return tokens.reshape(1, -1, tokens.shape[-1]) if tokens.ndim < 3 else tokens
