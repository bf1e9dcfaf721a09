"""Random weights as published files name and shape them, and the names they should get."""

import torch

DIMS, HEADS, DEPTH, PATCH, POSITIONS = 8, 2, 2, 4, 10

#: Our names and shapes of what every vision transformer has.
STEM = {
    "cls_token": (1, 1, DIMS),
    "pos_embed": (1, POSITIONS, DIMS),
    "patch_embed.proj.weight": (DIMS, 3, PATCH, PATCH),
    "patch_embed.proj.bias": (DIMS,),
    "norm.weight": (DIMS,),
    "norm.bias": (DIMS,),
}
BLOCK = {
    "norm1.weight": (DIMS,),
    "norm1.bias": (DIMS,),
    "attn.qkv.weight": (3 * DIMS, DIMS),
    "attn.qkv.bias": (3 * DIMS,),
    "attn.proj.weight": (DIMS, DIMS),
    "attn.proj.bias": (DIMS,),
    "norm2.weight": (DIMS,),
    "norm2.bias": (DIMS,),
    "mlp.fc1.weight": (4 * DIMS, DIMS),
    "mlp.fc1.bias": (4 * DIMS,),
    "mlp.fc2.weight": (DIMS, 4 * DIMS),
    "mlp.fc2.bias": (DIMS,),
}
HEAD = {"head.weight": (5, DIMS), "head.bias": (5,)}
PLAIN = {name: (name, shape) for name, shape in BLOCK.items()}


def random(shapes):
    """Names and tensors for names and shapes; shape None is a counter."""
    return {k: torch.tensor(7) if s is None else torch.randn(s) for k, s in shapes.items()}


def published(blocks, stem=None, extra=(), prefix="blocks.{}."):
    """Random weights, and the names they should get (None: none).

    Args:
        blocks: Published names of a block's tensors; our name and the published shape.
        stem: The same of what is outside the blocks, where it differs from ours.
        extra: Names and shapes that are to be dropped.
        prefix: The published name of block {}.
    """
    stem = {k: (k, s) for k, s in STEM.items()} if stem is None else stem
    table = dict(stem)
    for i in range(DEPTH):
        table |= {
            prefix.format(i) + old: (f"blocks.{i}.{new}", s) for old, (new, s) in blocks.items()
        }
    table |= {name: (None, shape) for name, shape in dict(extra).items()}
    state = random({old: shape for old, (_, shape) in table.items()})
    return state, {old: new for old, (new, _) in table.items()}


def batch_norm(name, our_name, width):
    parts = ("weight", "bias", "running_mean", "running_var")
    table = {f"{name}.{part}": (f"{our_name}.{part}", (width,)) for part in parts}
    return table | {f"{name}.num_batches_tracked": (f"{our_name}.num_batches_tracked", None)}


def dvit_repo():
    blocks = {
        **PLAIN,
        "attn.reatten_matrix.weight": ("attn.post_mix.weight", (HEADS, HEADS, 1, 1)),
        "attn.reatten_matrix.bias": ("attn.post_mix.bias", (HEADS,)),
        **batch_norm("attn.var_norm", "attn.mix_norm", HEADS),
    }
    return published(blocks, extra=HEAD)


def dvit_repo_fc():
    """Published without the maps' norm."""
    state, names = dvit_repo()
    return tuple({k: v for k, v in d.items() if "var_norm" not in k} for d in (state, names))


def patch_vit():
    blocks = {
        **PLAIN,
        "attn.proj_pre.weight": ("attn.pre_mix.weight", (HEADS, HEADS)),
        "attn.proj_post.weight": ("attn.post_mix.weight", (HEADS, HEADS)),
    }
    extra = {**HEAD, "patch_head.weight": (5, DIMS), "patch_head.bias": (5,)}
    return published(blocks, extra=extra)


def cait():
    blocks = {
        **PLAIN,
        "gamma_1": ("ls1.gamma", (DIMS,)),
        "gamma_2": ("ls2.gamma", (DIMS,)),
        "attn.proj_l.weight": ("attn.pre_mix.weight", (HEADS, HEADS)),
        "attn.proj_l.bias": ("attn.pre_mix.bias", (HEADS,)),
        "attn.proj_w.weight": ("attn.post_mix.weight", (HEADS, HEADS)),
        "attn.proj_w.bias": ("attn.post_mix.bias", (HEADS,)),
    }
    state, names = published(blocks, extra=HEAD)
    for i in range(2):
        name = f"blocks_token_only.{i}"
        new = {f"{name}.gamma_{k}": f"{name}.ls{k}.gamma" for k in (1, 2)}
        new |= {f"{name}.{k}": f"{name}.{k}" for k in BLOCK if "qkv" not in k}
        new |= {f"{name}.attn.{k}.weight": f"{name}.attn.{k}.weight" for k in "qkv"}
        names |= new
        state |= {k: torch.randn(DIMS) for k in new}
    return state, names


def ours():
    blocks = {
        **PLAIN,
        "ls1.gamma": ("ls1.gamma", (DIMS,)),
        "attn.pre_mix.weight": ("attn.pre_mix.weight", (HEADS, HEADS)),
        "attn.post_mix.weight": ("attn.post_mix.weight", (HEADS, HEADS)),
        **batch_norm("attn.mix_norm", "attn.mix_norm", HEADS),
    }
    return published(blocks)


def deit3():
    """facebookresearch/deit names LayerScale otherwise than timm."""
    blocks = {
        **PLAIN,
        "gamma_1": ("ls1.gamma", (DIMS,)),
        "gamma_2": ("ls2.gamma", (DIMS,)),
    }
    return published(blocks, extra=HEAD)


def distilled_deit():
    stem = {k: (k, s) for k, s in STEM.items()} | {"dist_token": ("reg_token", (1, 1, DIMS))}
    extra = {**HEAD, "head_dist.weight": (5, DIMS), "head_dist.bias": (5,)}
    return published(PLAIN, stem, extra)


def augreg():
    """ImageNet-21k weights with a representation layer, and a pooled head's norm."""
    extra = {**HEAD, "pre_logits.fc.weight": (DIMS, DIMS), "fc_norm.weight": (DIMS,)}
    return published(PLAIN, extra=extra)


def mae():
    extra = {
        "mask_token": (1, 1, DIMS),
        "decoder_pos_embed": (1, POSITIONS, DIMS),
        "decoder_embed.weight": (DIMS, DIMS),
        "decoder_norm.weight": (DIMS,),
        "decoder_pred.bias": (48,),
        "decoder_blocks.0.attn.qkv.weight": (3 * DIMS, DIMS),
    }
    return published(PLAIN, extra=extra)


def dinov2(prefix="blocks.{}."):
    stem = {k: (k, s) for k, s in STEM.items()}
    stem["register_tokens"] = ("reg_token", (1, 4, DIMS))
    blocks = {**PLAIN, "ls1.gamma": ("ls1.gamma", (DIMS,)), "ls2.gamma": ("ls2.gamma", (DIMS,))}
    return published(blocks, stem, {"mask_token": (1, DIMS)}, prefix)


def dinov2_sharded():
    """Numbered by chunk, then throughout."""
    return dinov2("blocks.0.{}.")


def openmmlab(attention):
    stem = {
        "cls_token": ("cls_token", (1, 1, DIMS)),
        "pos_embed": ("pos_embed", (1, POSITIONS, DIMS)),
        "patch_embed.projection.weight": ("patch_embed.proj.weight", (DIMS, 3, PATCH, PATCH)),
        "patch_embed.projection.bias": ("patch_embed.proj.bias", (DIMS,)),
        "ln1.weight": ("norm.weight", (DIMS,)),
        "ln1.bias": ("norm.bias", (DIMS,)),
    }
    blocks = {}
    for old, new in {
        "ln1": "norm1",
        "ln2": "norm2",
        "ffn.layers.0.0": "mlp.fc1",
        "ffn.layers.1": "mlp.fc2",
    }.items():
        for part in ("weight", "bias"):
            blocks[f"{old}.{part}"] = (f"{new}.{part}", BLOCK[f"{new}.{part}"])
    blocks |= {old: (new, BLOCK.get(new, (DIMS,))) for old, new in attention.items()}
    return published(blocks, stem, prefix="layers.{}.")


def mmseg_vit():
    return openmmlab(
        {
            "attn.attn.in_proj_weight": "attn.qkv.weight",
            "attn.attn.in_proj_bias": "attn.qkv.bias",
            "attn.attn.out_proj.weight": "attn.proj.weight",
            "attn.attn.out_proj.bias": "attn.proj.bias",
        }
    )


def mmpretrain_vit():
    names = {f"attn.{part}": f"attn.{part}" for part in ("qkv.weight", "qkv.bias", "proj.weight")}
    scales = {"attn.gamma1.weight": "ls1.gamma", "ffn.gamma2.weight": "ls2.gamma"}
    return openmmlab(names | scales)


def prefixed(prefix, state, **others):
    return {prefix + k: v for k, v in state.items()} | others


#: Family, weights and their new names, and the files in which they are published.
FILES = {
    "deepvit": ("dvit_repo", dvit_repo, lambda s: {"state_dict": prefixed("module.", s)}),
    "deepvit-fc": ("dvit_repo", dvit_repo_fc, lambda s: {"state_dict_ema": s, "state_dict": {}}),
    "diversepatch": ("patch_vit", patch_vit, lambda s: {"model": s, "epoch": 400}),
    "cait-deit": ("cait", cait, lambda s: {"model": prefixed("module.", s)}),
    "cait-timm": ("cait", cait, dict),
    "ours": ("ours", ours, lambda s: {"state_dict": prefixed("backbone.", s), "meta": {"iter": 9}}),
    "deit": ("vit", augreg, lambda s: {"model": s}),
    "deit-distilled": ("vit", distilled_deit, lambda s: {"model": s}),
    "deit-3": ("vit", deit3, lambda s: {"model": s}),
    "augreg": ("vit", augreg, dict),
    "mae": ("vit", mae, lambda s: {"model": s}),
    "dino": (
        "vit",
        lambda: published(PLAIN),
        lambda s: {
            "student": {"module.backbone.cls_token": torch.zeros(1)},
            "teacher": prefixed("backbone.", s, **{"head.last_layer.weight_g": torch.zeros(9, 1)}),
            "epoch": 300,
        },
    ),
    "dinov2": ("dinov2", dinov2, dict),
    "dinov2-sharded": (
        "dinov2",
        dinov2_sharded,
        lambda s: {
            "teacher": prefixed("backbone.", s, **{"dino_head.mlp.0.weight": torch.zeros(3, DIMS)})
        },
    ),
    "mmseg": ("mmseg_vit", mmseg_vit, lambda s: {"state_dict": s, "meta": {}}),
    "mmpretrain": (
        "mmpretrain_vit",
        mmpretrain_vit,
        lambda s: {
            "state_dict": prefixed(
                "backbone.", s, **{"head.layers.head.weight": torch.zeros(5, DIMS)}
            )
        },
    ),
}
