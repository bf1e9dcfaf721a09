import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_deepvit.diversity import PatchMix
from mmseg_deepvit.diversity.patch_mix import PUBLISHED


def make_batch(batch=4, size=(32, 48), fields=("gt_sem_seg",)):
    """Images and labels whose pixels all hold the number of the image."""
    inputs = torch.arange(batch).float().view(-1, 1, 1, 1).expand(-1, 3, *size).contiguous()
    samples = []
    for i in range(batch):
        sample = SegDataSample(metainfo={"img_path": f"{i}.png", "img_shape": size})
        for name in fields:
            setattr(sample, name, PixelData(data=torch.full((1, *size), i)))
        samples.append(sample)
    return inputs, samples


def labels_of(samples, name="gt_sem_seg"):
    return torch.stack([getattr(sample, name).data[0] for sample in samples])


def pixels(mix, batch, size):
    return mix.to_pixels(mix.draw_patches(batch, size), size)


@pytest.mark.parametrize("size", [(32, 48), (30, 45), (5, 5)])
@pytest.mark.parametrize("patch", [8, (16, 4)])
def test_images_and_labels_share_one_rectangle_of_patches(size, patch):
    sides = (patch, patch) if isinstance(patch, int) else patch
    inputs, samples = make_batch(size=size, fields=("gt_sem_seg", "gt_edge_map", "gt_depth_map"))
    replaced = 0
    for _ in range(20):
        mixed, mixed_samples = PatchMix(patch)(inputs, samples)
        for name in ("gt_sem_seg", "gt_edge_map", "gt_depth_map"):
            assert torch.equal(labels_of(mixed_samples, name), mixed[:, 0].long())
        for i, image in enumerate(mixed[:, 0]):
            rows, columns = (image != i).any(1).nonzero(), (image != i).any(0).nonzero()
            if not len(rows):
                continue
            replaced += 1
            part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert len(part.unique()) == 1  # one partner
            assert (image != i).sum() == part.numel()  # and no hole
            for found, side, total in ((rows, sides[0], size[0]), (columns, sides[1], size[1])):
                assert found[0] % side == 0
                assert (found[-1] + 1) % side == 0 or found[-1] + 1 == total
    assert replaced > 5


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_area_follows_the_beta_distribution(alpha):
    mix = PatchMix(patch_size=4, alpha=alpha)
    areas = torch.cat([pixels(mix, 50, (64, 80)).float().mean((1, 2)) for _ in range(20)])
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert abs(areas.mean() - 0.5) < 4 * (variance / len(areas)) ** 0.5
    assert abs(areas.var() / variance - 1) < 0.15


def test_rectangles_lie_anywhere():
    mask = pixels(PatchMix(patch_size=4), 400, (32, 32)).float().mean(0)
    assert mask.min() > 0.1  # corners too
    torch.testing.assert_close(mask, mask.flip(0), rtol=0, atol=0.15)
    torch.testing.assert_close(mask, mask.flip(1), rtol=0, atol=0.15)


def sides(mask):
    """Height and width of the true part."""
    return int(mask.any(1).sum()), int(mask.any(0).sum())


@pytest.mark.parametrize(("options", "spread"), [({}, 0.07), (PUBLISHED, 0.62)])
def test_aspect_of_the_rectangles(options, spread):
    """The published code's mean |log(height / width)| on 14×14 patches is 0.62 to two digits."""
    mix = PatchMix(patch_size=1, **{**options, "shared": False})
    drawn = [sides(mask) for mask in mix.draw_patches(4000, (14, 14))]
    logs = torch.tensor([h / w for h, w in drawn if h and w]).log().abs()
    assert abs(logs.mean() - spread) < 0.03


@pytest.mark.parametrize("size", [(6, 20), (20, 6), (1, 5), (5, 1)])
def test_rectangles_of_any_shape_have_the_area(size):
    mix = PatchMix(patch_size=1, aspect="random")
    for mask in mix.draw_patches(300, size):
        height, width = sides(mask)
        assert height * width == mask.sum()  # no hole, and inside the grid
    areas = mix.draw_patches(2000, size).float().mean((1, 2))
    assert 0.5 - areas.mean() < 0.03 + 1 / min(size)  # rounded down to full patches


def test_a_batch_may_share_one_rectangle():
    inputs, samples = make_batch(batch=8)
    torch.manual_seed(0)
    mixed, mixed_samples = PatchMix(8, **PUBLISHED)(inputs, samples)
    assert torch.equal(labels_of(mixed_samples), mixed[:, 0].long())
    own = torch.arange(8).view(-1, 1, 1)
    masks = [mask for mask in mixed[:, 0].long() != own if mask.any()]
    assert len(masks) > 3
    assert all(torch.equal(mask, masks[0]) for mask in masks)


def test_the_least_alpha_replaces_all_or_nothing():
    areas = pixels(PatchMix(patch_size=4, alpha=0.01), 50, (32, 32)).float().mean((1, 2))
    assert ((areas == 0) | (areas == 1)).float().mean() > 0.8
    assert len(areas.unique()) > 1


def test_originals_are_untouched():
    inputs, samples = make_batch()
    kept = inputs.clone(), labels_of(samples).clone()
    mixed, mixed_samples = PatchMix(8)(inputs, samples)
    assert not torch.equal(mixed, inputs)
    assert torch.equal(inputs, kept[0])
    assert torch.equal(labels_of(samples), kept[1])
    for old, new in zip(samples, mixed_samples, strict=True):
        assert new is not old
        assert new.gt_sem_seg is not old.gt_sem_seg
        assert new.metainfo == old.metainfo


def test_a_seed_settles_it():
    inputs, samples = make_batch(batch=8)
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(PatchMix(8)(inputs, samples)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_probability():
    inputs, samples = make_batch(batch=6)
    mixed = sum(PatchMix(8, prob=0.3)(inputs, samples)[0] is not inputs for _ in range(300))
    assert 60 <= mixed <= 120
    assert PatchMix(8, prob=0)(inputs, samples)[0] is inputs


def test_a_batch_of_one_stays():
    inputs, samples = make_batch(batch=1)
    state = torch.get_rng_state()
    mixed, same = PatchMix(8)(inputs, samples)
    assert mixed is inputs
    assert same == samples
    assert torch.equal(torch.get_rng_state(), state)


def test_fields_that_are_no_maps_stay():
    inputs, samples = make_batch(batch=3)
    for sample in samples:
        sample.set_data({"gt_name": "x"})
    _, mixed = PatchMix(8)(inputs, samples)
    assert [sample.gt_name for sample in mixed] == ["x"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 0}, "patch_size must be .* got 0"),
        ({"patch_size": (8, 8, 8)}, r"patch_size must be .* got \(8, 8, 8\)"),
        ({"patch_size": (8, 1.5)}, "patch_size must be"),
        ({"alpha": 0.001}, "alpha must be at least 0.01, got 0.001"),
        ({"alpha": float("inf")}, "alpha must be at least 0.01, got inf"),
        ({"aspect": "square"}, "aspect must be one of image, random, got 'square'"),
        ({"shared": 1}, "shared must be True or False, got 1"),
        ({"prob": 1.5}, "prob must be from 0 to 1, got 1.5"),
        ({"prob": float("nan")}, "prob must be from 0 to 1, got nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchMix(**arguments)


def test_bad_batches():
    inputs, samples = make_batch(batch=2)
    with pytest.raises(ValueError, match="2 images and 1 data samples"):
        PatchMix(8)(inputs, samples[:1])
    lacking = [SegDataSample(), samples[0]]
    with pytest.raises(ValueError, match="gt_sem_seg in all samples"):
        [PatchMix(8)(inputs, lacking) for _ in range(20)]
    _, small = make_batch(batch=2, size=(32, 40))
    with pytest.raises(ValueError, match=r"gt_sem_seg is \(32, 40\) and the image \(32, 48\)"):
        PatchMix(8)(inputs, small)
