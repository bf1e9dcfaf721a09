import math

import numpy as np
import pytest
import timm
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

import mmseg_deepvit.analysis.collapse as collapse
from mmseg_deepvit.analysis.collapse_figures import draw_all
from mmseg_deepvit.analysis.collapse_report import headline, summary_table, write_report
from mmseg_deepvit.analysis.models import TimmTransformer
from mmseg_deepvit.attention import observe_maps
from mmseg_deepvit.errors import UserError


def build(**cfg):
    init_default_scope("mmseg")
    model = MODELS.build(cfg)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    return model


def small_deepvit(**options):
    options = {"num_layers": 5, "num_mixing_layers": 3, "out_indices": 4, **options}
    return build(
        type="DeepViT", arch="deepvit-16b", embed_dims=24, num_heads=3, img_size=48, **options
    )


def test_equals_measures_of_whole_maps(monkeypatch):
    """Blocks of rows, layer by layer, against all maps at once."""
    monkeypatch.setattr(collapse, "BLOCK_BYTES", 500)
    model = small_deepvit()
    images = torch.randn(2, 3, 48, 48)
    found = collapse.measure_collapse(model, images)
    maps = []
    with torch.no_grad(), observe_maps(maps.append):
        model.eval()(images)
    for kind, whole in (
        ("P", [m.probabilities for m in maps]),
        ("A", [m.mixed for m in maps]),
    ):
        for k in (1, 2, 3):
            for dim, name in ((-1, "similarity"), (-2, "column_similarity")):
                expected = [math.nan] * k + [
                    nn.functional.cosine_similarity(x, y, dim=dim, eps=1e-12).mean().item()
                    for x, y in zip(whole[k:], whole[:-k], strict=True)
                ]
                np.testing.assert_allclose(
                    found.mean[f"{name}_{kind}_k{k}"], expected, rtol=1e-4, atol=1e-5
                )
        unit = nn.functional.normalize(whole[-1], dim=-1)
        heads = torch.einsum("bhqk,bgqk->hg", unit, unit) / (2 * unit.shape[2])
        np.testing.assert_allclose(found.mean[f"last_heads_{kind}"], heads, atol=1e-5)
    entropy = torch.special.entr(maps[2].probabilities).sum(-1) / math.log(10)
    assert found.mean["entropy"][2] == pytest.approx(entropy.mean().item(), rel=1e-5)
    assert found.mean["cka"].diagonal() == pytest.approx(np.ones(5))
    assert found.num_images == 2
    assert found.std["entropy"][2] > 0


def test_a_model_that_repeats_itself():
    """Blocks with the same weights on tokens that stay: every map is the same."""
    model = small_deepvit(num_mixing_layers=0)
    for block in model.blocks:
        block.load_state_dict(model.blocks[0].state_dict())
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    found = collapse.measure_collapse(model, torch.randn(1, 3, 48, 48))
    assert found.mean["similarity_P_k1"][1:] == pytest.approx(np.ones(4))
    assert found.mean["similar_blocks_P"][1:] == pytest.approx(np.ones(4))
    assert found.mean["cka"] == pytest.approx(np.ones((5, 5)), abs=1e-4)


def test_leaves_the_model_as_it_was():
    model = small_deepvit(drop_path_rate=0.5, norm_eval=True).train()
    modes = {name: module.training for name, module in model.named_modules()}
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random_state = torch.get_rng_state()
    collapse.measure_collapse(model, torch.randn(1, 3, 48, 48, generator=torch.Generator()))
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


SWIN = dict(
    type="SwinTransformer",
    embed_dims=12,
    depths=(2, 2, 3, 2),
    num_heads=(1, 2, 2, 4),
    window_size=4,
)


MIT = dict(
    type="MixVisionTransformer",
    embed_dims=8,
    num_layers=(2, 1, 1, 1),
    num_heads=(1, 2, 2, 4),
)
#: Of mmseg's Twins, PCPVT has reduced keys in each block, SVT windows in every other one.
TWINS = dict(
    embed_dims=[8, 8, 16, 16],
    num_heads=[1, 2, 2, 4],
    mlp_ratios=[2, 2, 2, 2],
    depths=[2, 2, 2, 2],
    norm_after_stage=False,
)


@pytest.mark.parametrize(
    ("cfg", "blocks"),
    [
        (dict(type="CaiT", arch="cait-xxs24", num_layers=3, img_size=64), 3),
        (dict(type="DiversePatchViT", arch="diversepatch-t", num_layers=3, img_size=64), 3),
        (
            dict(
                type="VisionTransformer",
                img_size=64,
                embed_dims=24,
                num_layers=3,
                num_heads=3,
                out_indices=2,
            ),
            3,
        ),
        (SWIN, 9),
        (dict(type="PCPVT", **TWINS), 8),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_any_backbone(cfg, blocks):
    found = collapse.measure_collapse(build(**cfg), torch.randn(2, 3, 64, 64))
    assert len(found.layers) == blocks
    assert 0 <= found.mean["entropy"].min() <= found.mean["entropy"].max() <= 1
    assert np.isfinite(found.mean["patch_similarity"]).all()
    assert set(draw_all({"one": found, "two": found})) >= {"block_similarity", "patches", "cka"}
    assert "| one" in summary_table({"one": found})
    assert all(math.isfinite(value) for value in headline(found).values())


def test_a_page_shows_names_as_they_are_written(tmp_path):
    found = collapse.measure_collapse(small_deepvit(), torch.randn(1, 3, 64, 64))
    written = write_report(tmp_path / "new", {"<b>": found}, {"images": "1 & 2"}, ["a", "'<'"])
    page = written[-1].read_text()
    assert {path.name for path in written} == {path.name for path in (tmp_path / "new").iterdir()}
    assert "<td>&lt;b&gt;</td><td>5</td>" in page
    assert "<code>a &#39;&lt;&#39;</code>" in page
    assert "<li>images: 1 &amp; 2</li>" in page
    assert page.count("data:image/png;base64,iVBOR") == len(written) - 2 == 7


def test_reduced_keys_are_measured_as_they_are():
    """The first stage of a MiT: 256 queries on 4 keys, not on 256."""
    model, maps = build(**MIT), []
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_hook(
                lambda module, args, kwargs, output: maps.append(
                    nn.MultiheadAttention.forward(module, **kwargs, average_attn_weights=False)[1]
                ),
                with_kwargs=True,
            )
    found = collapse.measure_collapse(model, torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape[2:]) for m in maps[:2]] == [(256, 4), (256, 4)]
    for i, whole in enumerate(maps):
        entropy = torch.special.entr(whole).sum(-1) / math.log(whole.shape[-1])
        assert found.mean["entropy"][i] == pytest.approx(entropy.mean().item(), rel=1e-5)
    alike = nn.functional.cosine_similarity(maps[0], maps[1], dim=-1).mean().item()
    assert found.mean["similarity_P_k1"][1] == pytest.approx(alike, rel=1e-5)
    assert np.isnan(found.mean["similarity_P_k1"][2])  # of another stage


@pytest.mark.parametrize(
    ("cfg", "says"),
    [
        (dict(type="SVT", depths=[2, 2, 2]), "SVT has attention maps .* in layers"),
        (dict(type="BEiT", img_size=64, num_layers=2), "BEiT has no attention maps"),
        (dict(type="MSCAN", depths=[1, 1, 1, 1]), "MSCAN has no attention maps"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_other_attention_is_refused(cfg, says):
    with pytest.raises(UserError, match=f"{says}.*give one of our ViTs"):
        collapse.measure_collapse(build(**cfg), torch.randn(1, 3, 64, 64))


def test_swin_compares_blocks_whose_windows_agree():
    """Two blocks apart in a stage, not one, whose windows are shifted."""
    found = collapse.measure_collapse(build(**SWIN), torch.randn(1, 3, 64, 64))
    assert np.isnan(found.mean["similarity_P_k1"]).all()
    third = found.layers.index("stages.2.blocks.2")
    assert np.flatnonzero(~np.isnan(found.mean["similarity_P_k2"])).tolist() == [third]
    assert not np.isnan(found.mean["similar_blocks_P"][third])
    assert np.isnan(found.mean["cka"][0, -1])


def test_timm_vit():
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3)
    found = collapse.measure_collapse(TimmTransformer(model), torch.randn(1, 3, 64, 64))
    assert found.layers == [f"model.blocks.{i}" for i in range(3)]


def test_timm_vit_of_parallel_attentions_is_refused():
    model = timm.create_model("vit_small_patch16_18x2_224", img_size=32, depth=1)
    with pytest.raises(UserError, match=r"several attentions in a block \(model\.blocks\.0\)"):
        collapse.measure_collapse(TimmTransformer(model), torch.randn(1, 3, 32, 32))


def test_blocks_that_do_not_run_are_left_out():
    model = small_deepvit(out_indices=2)
    assert len(collapse.measure_collapse(model, torch.randn(1, 3, 48, 48)).layers) == 3


def test_one_image_json_and_no_attention():
    found = collapse.measure_collapse(small_deepvit(), torch.randn(1, 3, 48, 48), (1,), False)
    content = found.to_json()
    assert content["mean"]["similarity_P_k1"][0] is None
    assert content["std"]["entropy"] == [0.0] * 5
    assert "cka" not in content["mean"]
    with pytest.raises(UserError, match="ResNet has no attention maps that can be read"):
        collapse.measure_collapse(build(type="ResNet", depth=18), torch.randn(1, 3, 64, 64))
