"""A DeepViT that is used at another size than it was trained at says so, once."""

import copy

import pytest
import torch

from mmseg_deepvit.backbones import DeepViT, map_means

SMALL = dict(embed_dims=24, num_heads=3, num_layers=3, img_size=64, out_indices=(-1,))


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(map_means, "print_log", lambda line, *_: lines.append(line))
    return lines


@pytest.fixture(scope="module")
def trained():
    """Statistics of 17 tokens: 64² images."""
    torch.manual_seed(0)
    model = DeepViT(dict(SMALL, mix_norm_cfg=dict(type="BN", momentum=None)))
    model.init_weights()
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(2, 3, 64, 64))
    return model.eval()


def run(model, side):
    with torch.no_grad():
        return model(torch.randn(1, 3, side, side))[0]


def test_says_so_once_for_each_size(trained, said):
    model = copy.deepcopy(trained)
    run(model, 64)
    assert said == []
    run(model, 128)
    run(model, 128)
    assert len(said) == 1
    assert "another number of tokens than 65" in said[0]
    assert "map_tokens=img_size" in said[0]
    run(model, 160)
    assert len(said) == 2


def test_training_and_compilation_are_left_alone(trained, said):
    model = copy.deepcopy(trained)
    run(model.train(), 128)
    compiled = torch.compile(copy.deepcopy(trained), backend="eager", fullgraph=True)
    run(compiled, 128)
    assert said == []


@pytest.mark.parametrize("change", ["map_tokens", "LN", "none", "untrained"])
def test_where_nothing_is_off(trained, said, change):
    if change == "map_tokens":
        model = DeepViT(dict(SMALL, map_tokens="img_size"))
        model.load_state_dict(trained.state_dict())
    else:
        cfg = {"LN": dict(type="LN"), "none": None, "untrained": dict(type="BN")}[change]
        model = DeepViT(dict(SMALL, mix_norm_cfg=cfg))
    run(model.eval(), 128)
    assert said == []


def test_map_tokens_must_be_those_of_training(trained, said):
    model = DeepViT(dict(SMALL, map_tokens=65))
    model.load_state_dict(trained.state_dict())
    run(model.eval(), 64)
    assert len(said) == 1
    assert "another number of tokens than 65" in said[0]
    assert "number of tokens of the training crop" in said[0]
