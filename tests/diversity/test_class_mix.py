import pytest
import torch

from mmseg_deepvit.diversity import patch_class_mix

from . import reference
from .test_losses import Watch


def test_by_hand():
    labels = torch.tensor([[[0, 1, 255], [1, 1, 255], [2, 255, 0]]])
    # Patches of 2×2 on 3×3 pixels: 0 1 1 1 | ignored | 2 ignored | 0
    expected = [[[0.25, 0.75, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]]
    torch.testing.assert_close(patch_class_mix(labels, (2, 2), 3), torch.tensor(expected))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize(
    ("size", "patch"), [((8, 12), (4, 4)), ((11, 10), (4, 4)), ((7, 13), (3, 5))]
)
@pytest.mark.parametrize("ignore_index", [255, 2])
def test_equals_counting_pixels(size, patch, ignore_index, dtype):
    labels = torch.randint(0, 5, (2, *size)).to(dtype)
    labels[0, :5, :6] = ignore_index
    grid = -(-size[0] // patch[0]), -(-size[1] // patch[1])
    ours = patch_class_mix(labels, grid, 5, ignore_index, patch)
    assert ours.dtype == torch.float32
    expected = reference.class_mix(labels, patch, 5, ignore_index)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(patch_class_mix(labels, grid, 5, ignore_index), ours)


def test_patch_size_decides_between_patches_that_fit():
    labels = torch.zeros(1, 29, 29, dtype=torch.long)
    labels[:, 28:] = 1  # three patches of 14, or of 10 to 13
    mix = patch_class_mix(labels, (3, 3), 2, patch_size=(14, 14))
    assert mix[0, :6, 0].tolist() == [1] * 6
    assert mix[0, 6:, 1].tolist() == [1] * 3


@pytest.mark.parametrize("pixels", [32, 70, 97, 100, 129, 250, 512, 769, 1025])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_strides_of_swin_are_inferred(pixels, stride):
    side = -(-pixels // stride)
    labels = (torch.arange(pixels) // stride % 2).view(1, 1, -1).expand(1, pixels, -1)
    mix = patch_class_mix(labels, (side, side), 2)
    expected = (torch.arange(side) % 2).float().repeat(side)
    assert torch.equal(mix[0, :, 1], expected)


def test_without_an_ignored_label():
    labels = torch.tensor([[[0, 1], [1, 1]]])
    torch.testing.assert_close(
        patch_class_mix(labels, (1, 1), 2, None), torch.tensor([[[0.25, 0.75]]])
    )


def test_no_one_hot_map():
    labels = torch.randint(0, 150, (2, 1024, 1024))
    with Watch() as watch:
        mix = patch_class_mix(labels, (64, 64), 150)
    assert mix.shape == (2, 4096, 150)
    assert watch.largest <= 2 * labels.numel()


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.long), {}, ValueError, r"\(batch, H, W\), got \(4, 4\)"),
        (torch.zeros(1, 4, 4), {}, TypeError, "integer type, got torch.float32"),
        (
            torch.zeros(1, 5, 4, dtype=torch.long),
            {"patch_size": (2, 2)},
            ValueError,
            "2×2 patches of 2×2 do not cover labels of 5×4",
        ),
        (torch.full((1, 4, 4), 7), {}, (IndexError, RuntimeError), "out of bounds"),
    ],
)
def test_bad_input(labels, options, error, message):
    with pytest.raises(error, match=message):
        patch_class_mix(labels, (2, 2), 3, **options)
