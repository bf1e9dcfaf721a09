import torch

from mmseg_deepvit.checkpoints import DEEPVIT, rename_keys, summarize_keys


def test_deepvit_names():
    state = {
        "blocks.3.attn.reatten_matrix.weight": torch.rand(4, 4, 1, 1),
        "blocks.3.attn.reatten_matrix.bias": torch.rand(4),
        "blocks.3.attn.var_norm.running_mean": torch.rand(4),
        "blocks.3.attn.qkv.weight": torch.rand(12, 4),
        "head.weight": torch.rand(10, 4),
        "head.bias": torch.rand(10),
    }
    renamed, dropped = rename_keys(state, DEEPVIT)
    assert list(renamed) == [
        "blocks.3.attn.post_mix.weight",
        "blocks.3.attn.post_mix.bias",
        "blocks.3.attn.mix_norm.running_mean",
        "blocks.3.attn.qkv.weight",
    ]
    assert dropped == ["head.weight", "head.bias"]
    mix = state["blocks.3.attn.reatten_matrix.weight"]
    assert torch.equal(renamed["blocks.3.attn.post_mix.weight"], mix[:, :, 0, 0])


def test_summarize_keys():
    assert summarize_keys([]) == ""
    keys = ["blocks.0.norm.bias", "norm.bias", "blocks.11.norm.bias"]
    assert summarize_keys(keys) == "blocks.*.norm.bias (2), norm.bias"
