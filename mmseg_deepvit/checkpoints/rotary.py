"""Names of vision transformers with rotary positions, in files of timm and of their authors.

Reference: facebookresearch/dinov3, baaivision/EVA (``EVA-02``), facebookresearch/perception_models;
timm ``models/eva.py``.
"""

from __future__ import annotations

from .key_maps import CLASSIFIERS, GAMMAS, PRETRAINING, Drop, KeyMap

_COMPUTED = Drop("computed by the model")
#: The layers of a gated MLP: activated, multiplied by it, and last.
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
