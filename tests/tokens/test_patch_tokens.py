import pytest
import torch
from torch import nn

from mmseg_deepvit.backbones.cait import CaiT
from mmseg_deepvit.tokens.patch_tokens import catch_outputs, read_layers, read_tokens


class Backbone(nn.Identity):
    def __init__(self, num_prefix_tokens):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens


IMAGES = torch.zeros(2, 3, 64, 96)


def numbered(*shape):
    return torch.arange(torch.Size(shape).numel()).view(shape).float()


@pytest.mark.parametrize("num_prefix", [0, 1, 5])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t, (4, 6)), lambda t: [t, t[:, 0]]])
def test_tokens_after_class_token_and_registers(num_prefix, wrap):
    tokens = numbered(2, num_prefix + 24, 3)
    caught = {"": (numbered(2, 3, 4, 6),), "block": wrap(tokens)}
    found = read_tokens(caught, "block", IMAGES, Backbone(num_prefix))
    assert torch.equal(found.tokens, tokens[:, num_prefix:])
    assert found.grid == (4, 6)


def test_tokens_without_the_prefix_that_the_backbone_has():
    tokens = numbered(2, 24, 3)
    caught = {"": (numbered(2, 3, 4, 6),), "embed": tokens}
    found = read_tokens(caught, "embed", IMAGES, Backbone(1))
    assert torch.equal(found.tokens, tokens)


@pytest.mark.parametrize("stride", [4, 8, 13, 16, 32])
def test_a_grid_that_no_output_has(stride):
    grid = -(-64 // stride), -(-96 // stride)
    tokens = numbered(2, grid[0] * grid[1], 3)
    caught = {"": (numbered(2, 3, 1, 2),), "block": tokens}
    assert read_tokens(caught, "block", IMAGES, Backbone(0)).grid == grid


@pytest.mark.parametrize("source", [-1, 1, "conv"])
def test_maps_become_tokens_row_by_row(source):
    maps = numbered(2, 3, 4, 6)
    caught = {"": [numbered(2, 5, 8, 12), [maps, "class token"]], "conv": maps}
    found = read_tokens(caught, source, IMAGES, Backbone(1))
    assert found.grid == (4, 6)
    assert torch.equal(found.tokens[1, 7], maps[1, :, 1, 1])


def test_a_backbone_may_return_one_tensor():
    maps = numbered(2, 3, 4, 6)
    assert read_tokens({"": maps}, 0, IMAGES, Backbone(0)).grid == (4, 6)


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (numbered(2, 26, 3), r"\(2, 26, 3\)"),  # 24 patches and two tokens, of which one is known
        (numbered(8, 24, 3), r"\(8, 24, 3\)"),  # windows
        (numbered(2, 4, 6, 3), r"\(2, 4, 6, 3\)"),  # channels last
        (numbered(2, 24), r"\(2, 24\)"),
        ({"x": 1}, "dict"),
    ],
)
def test_other_results_are_refused(value, described):
    caught = {"": (numbered(2, 3, 4, 6),), "layer": value}
    with pytest.raises(ValueError, match=f"'layer' gives {described}, no patch tokens or map of 2"):
        read_tokens(caught, "layer", IMAGES, Backbone(1))


def test_hooks_are_gone_after_the_context_even_after_an_error():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU())
    with catch_outputs(backbone, ["0", 0]) as caught:
        backbone(IMAGES)
    assert {name: value.shape for name, value in caught.items()} == {
        "": (2, 4, 8, 12),
        "0": (2, 4, 8, 12),
    }
    kept = dict(caught)
    backbone(IMAGES + 1)
    assert all(caught[name] is value for name, value in kept.items())
    with pytest.raises(RuntimeError), catch_outputs(backbone, ["0"]):
        backbone(IMAGES[:, :1])
    assert not any(module._forward_hooks for module in backbone.modules())


def test_every_block_that_runs_is_caught():
    model = CaiT(
        dict(embed_dims=16, num_layers=3, num_heads=2), img_size=32, out_indices=(0, 1)
    ).eval()
    layers = read_layers(model, torch.randn(1, 3, 32, 48))
    assert list(layers) == ["blocks.0", "blocks.1"]
    assert all(tokens.grid == (2, 3) for tokens in layers.values())
    expected = model(torch.randn(1, 3, 32, 48))
    assert layers["blocks.1"].tokens.shape == (1, 6, expected[1].shape[1])


def test_maps_of_other_backbones_are_taken():
    model = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8)).eval()
    layers = read_layers(model, torch.zeros(1, 3, 32, 64))
    assert {name: tokens.grid for name, tokens in layers.items()} == {"output 0": (4, 8)}
    with pytest.raises(ValueError, match="no patch tokens"):
        read_layers(nn.Flatten(), torch.zeros(1, 3, 32, 64))
    with pytest.raises(ValueError, match="output 0 gives values that are not finite"):
        read_layers(model, torch.full((1, 3, 32, 64), float("nan")))
