"""Published families of weights, recognised by the keys of a file.

A family's marks are patterns of keys that each of its files has. A file belongs to the first of
:data:`FAMILIES` of which it has every mark, and no key that the family lacks. Families with special
parts come first, because their files have the common families' marks too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import CheckpointError
from . import hugging_face
from .checkpoint import Checkpoint
from .joining import GATE_JOINS, QKV_JOINS, Join, without_key_bias
from .key_maps import (
    CAIT,
    CLASSIFIERS,
    DEEPVIT,
    DINOV2,
    DIVERSE_PATCH,
    MMPRETRAIN_VIT,
    MMSEG_VIT,
    VIT,
    Drop,
    KeyMap,
    mix_matrix,
    summarize_keys,
)
from .normalization import CLIP, HALF, IMAGENET, Normalization
from .rotary import DINOV3, EVA02, PERCEPTION_ENCODER, perception_models, with_batch
from .swin import SWIN, TIMM_SWIN, unfold_order


@dataclass(frozen=True)
class ValueChange:
    """A change to the values of some tensors."""

    pattern: str  #: Pattern of the full new names.
    function: Callable[[Tensor], Tensor]  #: Returns the same object where nothing is to be done.
    what: str  #: Description for people.


@dataclass(frozen=True)
class Family:
    """Files that share their parameter names.

    Attributes:
        name: Name for ``tools/convert_checkpoint.py --family``.
        reference: Publisher of the files.
        marks: Patterns; each matches some full name in every file of the family.
        key_map: New names, and names to leave out.
        changes: Changes to values that are laid out in another way.
        normalizations: Patterns of names, and the normalisation of the training images of weights
            with such a name.
        segmentors: Whether segmentors are published in these names, which no model of mmseg has.
        absent: Patterns; none of them matches a name in any file of the family.
        joins: Tensors that the files have in parts, by their new names.
        rotary: Convention of the rotary positions, as a trunk's ``rope`` names it; None for
            families without them, and where the names are our trunk's.
        target: Model whose names they get: our ``trunk`` (DeepViT, DiversePatchViT, CaiT,
            PlainViT), or ``swin``, mmseg's SwinTransformer.
    """

    name: str
    reference: str
    marks: tuple[str, ...]
    key_map: KeyMap
    changes: tuple[ValueChange, ...] = ()
    normalizations: tuple[tuple[str, Normalization], ...] = ()
    segmentors: bool = False
    absent: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()
    rotary: str | None = None
    target: Literal["trunk", "swin"] = "trunk"

    def normalization(self, names: Collection[str]) -> Normalization | None:
        """Normalisation of the training images of weights with these names, if it is known."""
        found = (n for pattern, n in self.normalizations if first_match(pattern, names))
        return next(found, None)


_SWIN_TABLE = r"layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table"

_MERGING = (
    ValueChange(
        r".+\.downsample\.(norm\.weight|norm\.bias|reduction\.weight)",
        unfold_order,
        "inputs of patch merging reordered",
    ),
)
_ALL_HALF = ((r".+", HALF),)
_ALL_IMAGENET = ((r".+", IMAGENET),)
#: Files of a plain transformer may be DeiT's or DINO's (ImageNet), or augreg's (half). Only a
#: distillation token, DeiT-III's LayerScale and MAE's decoder tell.
_SOME_IMAGENET = ((r"dist_token|blocks\.\d+\.gamma_1|decoder_pos_embed", IMAGENET),)
_WITH_BATCH = (ValueChange(r"cls_token|pos_embed", with_batch, "given a dimension of images"),)
_KEY_BIAS = (ValueChange(r".+\.attn\.qkv\.bias", without_key_bias, "bias of the keys set to zero"),)
_MIXES = (ValueChange(r".+\.(pre|post)_mix\.weight", mix_matrix, "1×1 convolution to a matrix"),)

FAMILIES: tuple[Family, ...] = (
    Family(
        "dvit_repo",
        "zhoudaquan/dvit_repo: DeepViT",
        (r"blocks\.\d+\.attn\.reatten_matrix\.weight",),
        DEEPVIT,
        _MIXES,
        _ALL_HALF,
        segmentors=True,
    ),
    Family(
        "patch_vit",
        "ChengyueGongR/PatchVisionTransformer: ViTs that mix heads",
        (r"blocks\.\d+\.attn\.proj_(pre|post)\.weight",),
        DIVERSE_PATCH,
        _MIXES,
        _ALL_IMAGENET,
        segmentors=True,
    ),
    Family(
        "cait",
        "facebookresearch/deit, timm: CaiT",
        (r"blocks\.\d+\.attn\.proj_[lw]\.weight",),
        CAIT,
        _MIXES,
        _ALL_IMAGENET,
        segmentors=True,
    ),
    Family(
        "ours",
        "this package's DeepViT, DiversePatchViT and CaiT",
        (r"blocks\.\d+\.attn\.(pre_mix|post_mix|mix_norm)\..+",),
        VIT,
    ),
    Family(
        "dinov3",
        "facebookresearch/dinov3",
        (r"storage_tokens", r"blocks\.\d+\.ls1\.gamma", r"blocks\.\d+\.attn\.qkv\.weight"),
        DINOV3,
        _KEY_BIAS,
        _ALL_IMAGENET,
        absent=("pos_embed",),
        joins=GATE_JOINS,
        rotary="dinov3",
    ),
    Family(
        "timm_dinov3",
        "timm: DINOv3",
        (r"cls_token", r"reg_token", r"blocks\.\d+\.gamma_1", r"blocks\.\d+\.attn\.qkv\.weight"),
        DINOV3,
        normalizations=_ALL_IMAGENET,
        absent=("pos_embed",),
        joins=(*QKV_JOINS, *GATE_JOINS),
        rotary="dinov3",
    ),
    Family(
        "eva02",
        "baaivision/EVA, timm: EVA, EVA-02",
        (
            r"blocks\.\d+\.attn\.(v_bias|v_proj\.bias)",
            r"blocks\.\d+\.attn\.(qkv|q_proj)\.weight",
            r"patch_embed\.proj\.weight",
        ),
        EVA02,
        normalizations=((r"pos_embed", CLIP),),
        absent=(r"(.+\.)?(relative_position_bias_table|rel_pos_bias\..+)",),
        joins=(*QKV_JOINS, *GATE_JOINS),
        rotary="eva02",
    ),
    Family(
        "timm_pe_core",
        "timm: Perception Encoder (core)",
        (r"norm_pre\.weight", r"attn_pool\.latent", r"blocks\.\d+\.attn\.qkv\.weight"),
        PERCEPTION_ENCODER,
        normalizations=_ALL_HALF,
        rotary="pe",
    ),
    Family(
        "timm_pe_spatial",
        "timm: Perception Encoder (spatial, lang)",
        (r"norm_pre\.weight", r"blocks\.\d+\.attn\.qkv\.weight", r"patch_embed\.proj\.weight"),
        PERCEPTION_ENCODER,
        normalizations=_ALL_HALF,
        absent=(r"norm\.weight",),
        rotary="pe",
    ),
    Family(
        "pe_core",
        "facebookresearch/perception_models: core, with the text encoder",
        (
            r"visual\.transformer\.resblocks\.\d+\.attn\.in_proj_weight",
            r"visual\.conv1\.weight",
            r"visual\.ln_pre\.weight",
            r"visual\.attn_pool\.probe",
        ),
        perception_models(r"visual\.", (r".+", Drop("text encoder"))),
        _WITH_BATCH,
        _ALL_HALF,
        rotary="pe",
    ),
    Family(
        "pe_spatial",
        "facebookresearch/perception_models: spatial, lang",
        (r"transformer\.resblocks\.\d+\.attn\.in_proj_weight", r"conv1\.weight", r"ln_pre\.weight"),
        perception_models(""),
        _WITH_BATCH,
        _ALL_HALF,
        absent=(r"visual\..+", r"token_embedding\.weight", r"ln_post\.weight"),
        rotary="pe",
    ),
    Family(
        "dinov2",
        "facebookresearch/dinov2",
        (
            r"register_tokens|mask_token|blocks\.\d+\.\d+\.norm1\.weight",
            r"blocks\.(\d+\.)?\d+\.ls1\.gamma",
        ),
        DINOV2,
        normalizations=_ALL_IMAGENET,
    ),
    Family(
        "hf_dinov3",
        "Hugging Face's transformers: DINOv3",
        (hugging_face.REGISTERS, hugging_face.DINOV3_QUERY),
        hugging_face.HUGGING_FACE,
        normalizations=_ALL_IMAGENET,
        absent=(r"(.+\.)?position_embeddings",),
        joins=hugging_face.JOINS,
        rotary="dinov3",
    ),
    Family(
        "hf_vit",
        "Hugging Face's transformers: ViT, DeiT, MAE, I-JEPA, DINOv2",
        (hugging_face.PATCHES, hugging_face.QUERY),
        hugging_face.HUGGING_FACE,
        normalizations=((hugging_face.IMAGENET_PARTS, IMAGENET),),
        absent=(hugging_face.RELATIVE_POSITIONS,),
        joins=hugging_face.JOINS,
    ),
    Family(
        "vit",
        "timm, facebookresearch/deit, dino and mae: ViT, DeiT, DeiT-III, augreg, DINO, MAE",
        (r"blocks\.\d+\.attn\.qkv\.weight", r"patch_embed\.proj\.weight"),
        VIT,
        normalizations=_SOME_IMAGENET,
    ),
    Family(
        "mmseg_vit",
        "mmseg: VisionTransformer",
        (r"layers\.\d+\.attn\.attn\.in_proj_weight", r"patch_embed\.projection\.weight"),
        MMSEG_VIT,
    ),
    Family(
        "mmpretrain_vit",
        "mmpretrain: VisionTransformer",
        (
            r"layers\.\d+\.attn\.qkv\.weight",
            r"layers\.\d+\.ffn\.layers\.0\.0\.weight",
            r"patch_embed\.projection\.weight",
        ),
        MMPRETRAIN_VIT,
        normalizations=_SOME_IMAGENET,
    ),
    Family(
        "swin",
        "microsoft/Swin-Transformer, its segmentation repository, PatchVisionTransformer: Swin",
        (_SWIN_TABLE, r"layers\.0\.downsample\.reduction\.weight"),
        SWIN,
        _MERGING,
        _ALL_IMAGENET,
        segmentors=True,
        target="swin",
    ),
    Family(
        "timm_swin",
        "timm: Swin",
        (_SWIN_TABLE, r"layers\.1\.downsample\.reduction\.weight"),
        TIMM_SWIN,
        _MERGING,
        _ALL_IMAGENET,
        target="swin",
    ),
    Family(
        "mmseg_swin",
        "mmseg, mmpretrain: SwinTransformer",
        (r"stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_bias_table",),
        CLASSIFIERS,
        normalizations=_ALL_IMAGENET,
        target="swin",
    ),
)


def find_family(state: Checkpoint) -> Family:
    """Recognise the family of a backbone's weights; CheckpointError if none has such names."""
    if family := match_family(state):
        return family
    held = summarize_keys(list(state)[:5])
    raise state.error(
        f"is of no family that is known (it holds {held}, …)", f"give weights of {_names()}"
    )


def match_family(names: Iterable[str]) -> Family | None:
    """The first family that has all its marks among the names of a backbone's weights, or None."""
    names = list(names)
    return next((family for family in FAMILIES if has_marks(family, names)), None)


def has_marks(family: Family, names: Collection[str]) -> bool:
    """Whether the names of a backbone's weights have all marks of a family, and none it lacks."""
    marked = all(first_match(mark, names) for mark in family.marks)
    return marked and not any(first_match(name, names) for name in family.absent)


def get_family(name: str) -> Family:
    """The family of a name; CheckpointError if there is none."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise CheckpointError(f"{name} is no family of checkpoints; give one of {_names()}")


def _names() -> str:
    return ", ".join(family.name for family in FAMILIES)


def first_match(pattern: str, keys: Iterable[str]) -> str | None:
    """The first key that a pattern matches from beginning to end, or None."""
    return next((key for key in keys if re.fullmatch(pattern, key)), None)
