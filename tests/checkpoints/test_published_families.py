import pytest
import timm
import torch
from mmseg.registry import MODELS
from timm.models.cait import Cait
from timm.models.deit import VisionTransformerDistilled

from mmseg_deepvit.checkpoints import (
    FAMILIES,
    Checkpoint,
    convert,
    find_family,
    get_family,
    read_checkpoint,
)
from mmseg_deepvit.errors import CheckpointError

from .published import DEPTH, DIMS, FILES, HEADS, PATCH, PLAIN, published

TIMM = {"img_size": 12, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize("file", FILES)
def test_published_files(tmp_path, file):
    """Each tensor is found under its new name with its values; the rest is named as dropped."""
    family, make, wrap = FILES[file]
    state, names = make()
    torch.save(wrap(state), tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth").find_backbone()
    conversion = convert(found, find_family(found))

    assert conversion.family.name == family
    assert conversion.renamed == {old: new for old, new in names.items() if new}
    assert set(conversion.dropped) == {old for old, new in names.items() if new is None}
    assert set(conversion.state) == set(conversion.renamed.values())
    for old, new in conversion.renamed.items():
        expected = state[old]
        if expected.shape[-2:] == (1, 1) and "matrix" in old:
            expected = expected[:, :, 0, 0]
            assert conversion.changed[new] == "1×1 convolution to a matrix"
        assert torch.equal(conversion.state[new], expected), new


@pytest.mark.parametrize("file", FILES)
def test_converting_twice_changes_nothing_more(file):
    _, make, _ = FILES[file]
    state = Checkpoint(make()[0], "a.pth")
    first = convert(state, find_family(state)).state
    second = convert(first, find_family(first))
    assert second.family.target == "trunk"
    assert not second.dropped
    assert not second.changed
    assert list(second.state) == list(first)


@pytest.mark.parametrize(
    ("model", "family", "renamed", "dropped"),
    [
        (lambda: timm.models.VisionTransformer(**TIMM), "vit", {}, ["head"]),
        (
            lambda: timm.models.VisionTransformer(
                **TIMM, init_values=1e-5, reg_tokens=4, no_embed_class=True
            ),
            "vit",
            {},
            ["head"],
        ),
        (
            lambda: timm.models.VisionTransformer(**TIMM, global_pool="map", class_token=False),
            "vit",
            {},
            ["head", "attn_pool"],
        ),
        (
            lambda: VisionTransformerDistilled(**TIMM),
            "vit",
            {"dist_token": "reg_token"},
            ["head", "head_dist"],
        ),
        (
            lambda: Cait(**TIMM),
            "cait",
            {
                "blocks.1.attn.proj_l.bias": "blocks.1.attn.pre_mix.bias",
                "blocks.1.attn.proj_w.weight": "blocks.1.attn.post_mix.weight",
                "blocks.0.gamma_2": "blocks.0.ls2.gamma",
                "blocks_token_only.0.gamma_1": "blocks_token_only.0.ls1.gamma",
            },
            ["head"],
        ),
    ],
)
def test_models_of_timm(model, family, renamed, dropped):
    state = Checkpoint(model().state_dict(), "a.pth")
    conversion = convert(state, find_family(state))
    assert conversion.family.name == family
    assert renamed.items() <= conversion.renamed.items()
    assert {k.split(".")[0] for k in conversion.dropped} == set(dropped)
    assert len(conversion.state) + len(conversion.dropped) == len(state)
    for old, new in conversion.renamed.items():
        assert conversion.state[new] is state[old]
        assert old == new or "gamma" in old or "proj_" in old or old == "dist_token"


def test_the_mmseg_transformer_computes_the_same_in_our_trunk():
    """Names, order of queries, keys and values, and which norm is which, shown by the features."""
    theirs = MODELS.build(
        {
            "type": "mmseg.VisionTransformer",
            "img_size": (12, 20),
            "patch_size": 4,
            "embed_dims": 8,
            "num_layers": 3,
            "num_heads": 2,
            "mlp_ratio": 2,
            "out_indices": (0, 2),
            "patch_bias": True,
            "final_norm": True,
            "norm_cfg": {"type": "LN", "eps": 1e-6},
        }
    )
    theirs.eval()  # returns None
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    state = Checkpoint(theirs.state_dict(), "a.pth")
    conversion = convert(state, find_family(state))
    assert conversion.family.name == "mmseg_vit"
    ours = MODELS.build(
        {
            "type": "PlainViT",
            "img_size": (12, 20),
            "patch_size": 4,
            "embed_dims": 8,
            "num_layers": 3,
            "num_heads": 2,
            "mlp_ratio": 2,
            "out_indices": (0, 2),
        }
    ).eval()
    ours.load_state_dict(conversion.state)
    images = torch.randn(2, 3, 12, 20)
    for out, expected in zip(ours(images), theirs(images), strict=True):
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["conv1.weight", "layer1.0.conv1.weight"],
            r"holds conv1\.weight, layer1\.\*\.conv1\.weight, ",
        ),
        (["blocks.0.attn.qkv.weight"], r"a\.pth is of no family .* give weights of dvit_repo, "),
    ],
)
def test_other_files_are_refused(names, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        find_family(Checkpoint(dict.fromkeys(names, torch.zeros(1)), "a.pth"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "meaning"),
    [
        ({"blocks.0.mlp.w12.weight": (6, DIMS)}, "gated MLPs"),
        ({"blocks.0.attn.q_norm.weight": (4,)}, "norms of queries and keys"),
        ({"blocks.0.attn.q_bias": (DIMS,)}, "queries, keys and values apart"),
        ({"blocks.0.attn.rel_pos.relative_position_bias_table": (9, HEADS)}, "relative positions"),
        ({"blocks.0.attn.rel_pos_h": (9, DIMS)}, "relative positions"),
        ({"blocks.0.attn.rel_pos.mlp.fc1.weight": (9, DIMS)}, "relative positions"),
        ({"blocks.0.attn.inner_attn_ln.weight": (DIMS,)}, "a norm inside attention"),
        ({"ln_pre.weight": (DIMS,)}, "a norm before the first block"),
    ],
)
def test_transformers_with_other_parts_are_refused(extra, meaning):
    """Weights without such a part load, but compute something else."""
    state, _ = published(PLAIN)
    state = Checkpoint(state | {k: torch.zeros(shape) for k, shape in extra.items()}, "a.pth")
    name = next(iter(extra))
    with pytest.raises(CheckpointError, match=rf"a\.pth has {meaning} \({name}\)"):
        convert(state, find_family(state))


def test_two_keys_of_one_name_are_refused():
    state, _ = published(PLAIN)
    state = Checkpoint(
        state | {"dist_token": torch.zeros(1, 1, DIMS), "reg_token": torch.zeros(1, 1, DIMS)},
        "a.pth",
    )
    with pytest.raises(CheckpointError, match="reg_token and another key are both reg_token"):
        convert(state, get_family("vit"))


def test_the_file_is_kept_as_it_is():
    state = Checkpoint(FILES["deepvit"][1]()[0], "a.pth")
    before = {k: v.clone() for k, v in state.items()}
    convert(state, get_family("dvit_repo"))
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_families_by_name():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(get_family(family.name) is family for family in FAMILIES)
    with pytest.raises(CheckpointError, match=r"resnet is no family.*dvit_repo, patch_vit, cait"):
        get_family("resnet")


def test_sizes_of_the_tables_here():
    """What the tables say is built: guards the tests above against an empty table."""
    state, names = published(PLAIN)
    assert len(state) == len(names) == 6 + 12 * DEPTH
    assert state["patch_embed.proj.weight"].shape == (DIMS, 3, PATCH, PATCH)
