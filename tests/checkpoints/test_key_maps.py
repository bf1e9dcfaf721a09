from mmseg_deepvit.checkpoints import summarize_keys


def test_summarize_keys():
    assert summarize_keys([]) == ""
    keys = ["blocks.0.norm.bias", "norm.bias", "blocks.11.norm.bias"]
    assert summarize_keys(keys) == "blocks.*.norm.bias (2), norm.bias"
