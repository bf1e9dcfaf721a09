"""Names of plain vision transformers in files of Hugging Face's transformers.

One table serves ViT, DeiT, MAE and I-JEPA, DINOv2 and DINOv3, whose parts differ in a word or two.
Models with a head hold the trunk under the name of its kind: ``vit.``, ``dinov2.``.
"""

from __future__ import annotations

from .joining import QKV_JOINS, Join
from .key_maps import CLASSIFIERS, Drop, KeyMap

_TRUNK = r"(?:\w+\.)?"
_BLOCK = rf"{_TRUNK}(?:\w+\.)?layer\.(\d+)\."

#: Patterns of published names that mark a file.
PATCHES = rf"{_TRUNK}embeddings\.patch_embeddings\.projection\.weight"
QUERY = rf"{_BLOCK}attention\.attention\.query\.weight"
REGISTERS = rf"{_TRUNK}embeddings\.register_tokens"
DINOV3_QUERY = rf"{_BLOCK}attention\.q_proj\.weight"
#: Second token of DeiT, LayerScale of DINOv2, decoder of MAE: ImageNet's normalisation.
IMAGENET_PARTS = rf"{_TRUNK}embeddings\.distillation_token|{_BLOCK}layer_scale1\..+|decoder\..+"
#: Parts of BEiT and Data2Vec.
RELATIVE_POSITIONS = r".+\.relative_position_bias_table"

HUGGING_FACE: KeyMap = (
    *CLASSIFIERS,
    (r"(cls_|distillation_)classifier\..+", Drop("classifier")),
    (rf"{_TRUNK}pooler\..+", Drop("classifier")),
    (r"decoder\..+", Drop("pretraining")),
    (rf"{_TRUNK}embeddings\.mask_token", Drop("pretraining")),
    (rf"{_TRUNK}embeddings\.cls_token", "cls_token"),
    (rf"{_TRUNK}embeddings\.(?:distillation_token|register_tokens)", "reg_token"),
    (rf"{_TRUNK}embeddings\.position_embeddings", "pos_embed"),
    (rf"{_TRUNK}embeddings\.patch_embeddings\.(?:projection\.)?(.+)", r"patch_embed.proj.\1"),
    (rf"{_TRUNK}(?:layernorm|norm)\.(.+)", r"norm.\1"),
    (rf"{_BLOCK}(?:layernorm_before|norm1)\.(.+)", r"blocks.\1.norm1.\2"),
    (rf"{_BLOCK}(?:layernorm_after|norm2)\.(.+)", r"blocks.\1.norm2.\2"),
    (rf"{_BLOCK}layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (rf"{_BLOCK}attention\.(?:attention\.query|q_proj)\.(.+)", r"blocks.\1.attn.q_proj.\2"),
    (rf"{_BLOCK}attention\.(?:attention\.key|k_proj)\.(.+)", r"blocks.\1.attn.k_proj.\2"),
    (rf"{_BLOCK}attention\.(?:attention\.value|v_proj)\.(.+)", r"blocks.\1.attn.v_proj.\2"),
    (rf"{_BLOCK}attention\.(?:output\.dense|o_proj)\.(.+)", r"blocks.\1.attn.proj.\2"),
    (rf"{_BLOCK}mlp\.gate_proj\.(.+)", r"blocks.\1.mlp.gate.\2"),
    (
        rf"{_BLOCK}(?:intermediate\.dense|mlp\.(?:fc1|up_proj|weights_in))\.(.+)",
        r"blocks.\1.mlp.fc1.\2",
    ),
    (
        rf"{_BLOCK}(?:output\.dense|mlp\.(?:fc2|down_proj|weights_out))\.(.+)",
        r"blocks.\1.mlp.fc2.\2",
    ),
)

#: ``up_proj`` is the whole first layer of a plain MLP, and the second half of a gated one.
JOINS = (
    *QKV_JOINS,
    *(
        Join(
            f".mlp.fc1.{kind}", (f".mlp.gate.{kind}", f".mlp.fc1.{kind}"), "gate and values joined"
        )
        for kind in ("weight", "bias")
    ),
)
