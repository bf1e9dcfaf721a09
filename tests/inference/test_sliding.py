import copy
import math

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_deepvit.inference.regions import RegionRules
from mmseg_deepvit.inference.sliding import scored_classes
from mmseg_deepvit.inference.windows import WEIGHTS, find_windows


def segmentor(kind, **test_cfg):
    init_default_scope("mmseg")
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=4)
    backbone = dict(type="DeepViT", arch=arch, img_size=32, patch_size=8)
    head = dict(type="FCNHead", num_convs=0, concat_input=False, align_corners=False)
    head.update(in_index=0, in_channels=24, channels=24, num_classes=3)
    test_cfg = dict(mode="slide", crop_size=(32, 32), stride=(20, 24), **test_cfg)
    cfg = ConfigDict(type=kind, backbone=backbone, decode_head=head, test_cfg=test_cfg)
    return MODELS.build(cfg).eval()


def metas(count, size):
    one = dict(img_shape=size, ori_shape=size, pad_shape=size, padding_size=[0] * 4)
    return [dict(one) for _ in range(count)]


@pytest.mark.parametrize("at_a_time", [None, 1, 3, 100])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (64, 80), (33, 57), (20, 100), (10, 12)], ids=str)
def test_the_windows_of_mmseg(size, batch, at_a_time):
    test_cfg = {} if at_a_time is None else {"window_batch_size": at_a_time}
    theirs, ours = segmentor("EncoderDecoder"), segmentor("SlidingEncoderDecoder", **test_cfg)
    images = torch.randn(batch, 3, *size)
    given = metas(batch, size)
    before = copy.deepcopy(given)
    with torch.no_grad():
        expected = theirs.slide_inference(images, metas(batch, size))
        actual = ours.slide_inference(images, given)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert given == before


def test_windows_go_together():
    model = segmentor("SlidingEncoderDecoder", window_batch_size=3)
    sizes = []
    model.backbone.register_forward_hook(lambda m, args, out: sizes.append(len(args[0])))
    with torch.no_grad():
        model.slide_inference(torch.randn(2, 3, 64, 80), metas(2, (64, 80)))
    assert sizes == [6, 6, 6]


@pytest.mark.parametrize("at_a_time", [0, -1, 1.5])
def test_bad_sizes(at_a_time):
    model = segmentor("SlidingEncoderDecoder", window_batch_size=at_a_time)
    with pytest.raises(ValueError, match="window_batch_size must be at least 1"):
        model.slide_inference(torch.randn(1, 3, 32, 32), metas(1, (32, 32)))


@pytest.mark.parametrize("mode", ["slide", "whole"])
def test_the_class_that_is_never_scored(mode):
    """Prediction skips the class although its logit is largest; the other logits stay."""
    plain = segmentor("SlidingEncoderDecoder")
    model = segmentor("SlidingEncoderDecoder", unscored_classes=1)
    plain.test_cfg.mode = model.test_cfg.mode = mode
    for one in (plain, model):
        one.decode_head.conv_seg.bias.data[2] = 1e3
    assert (scored_classes(plain), scored_classes(model)) == (3, 2)
    size = (40, 48)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = plain.predict(images, None)[0].seg_logits.data[:2]
        (result,) = model.predict(images, None)
    torch.testing.assert_close(result.seg_logits.data, expected)
    assert set(result.pred_sem_seg.data.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("unscored", [-1, 3, 0.5])
def test_unscored_classes_out_of_range(unscored):
    with pytest.raises(ValueError, match=r"test_cfg\.unscored_classes .* below the head's 3"):
        scored_classes(segmentor("SlidingEncoderDecoder", unscored_classes=unscored))


def test_gaussian_windows_count_most_in_their_middle():
    """Against a loop over windows; a single window stays as it is."""
    plain, ours = (segmentor("SlidingEncoderDecoder", window_weights=w) for w in WEIGHTS)
    images = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        found, constant = (m.slide_inference(images, metas(1, (40, 56))) for m in (ours, plain))
        one = [m.slide_inference(images[..., :32, :32], metas(1, (32, 32))) for m in (ours, plain)]
        total, count = torch.zeros(3, 40, 56), torch.zeros(40, 56)
        for top, left, bottom, right in find_windows((40, 56), (32, 32), (20, 24)):
            crop = images[:, :, top:bottom, left:right]
            for y in range(top, bottom):
                weights = [gaussian(y - top) * gaussian(x) for x in range(32)]
                row = torch.tensor(weights).clamp(min=1e-3)
                count[y, left:right] += row
                if y == top:
                    logits = plain.encode_decode(crop, metas(1, (32, 32)))[0]
                total[:, y, left:right] += row * logits[:, y - top]
    torch.testing.assert_close(found[0], total / count, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one[0], one[1], rtol=1e-5, atol=1e-6)
    assert (found - constant).abs().max() > 1e-3


def gaussian(x):
    return math.exp(-0.5 * ((x - 15.5) / 4) ** 2)


def test_regions_reach_the_prediction():
    """The logits stay; labels are the same as of the rules alone."""
    plain = segmentor("SlidingEncoderDecoder")
    model = segmentor("SlidingEncoderDecoder", keep_largest_region=True, fill_holes=True)
    images = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        (before,), (after,) = (m.predict(images, None) for m in (plain, model))
    assert torch.equal(before.seg_logits.data, after.seg_logits.data)
    labels, found = (x.pred_sem_seg.data for x in (before, after))
    assert (found.dtype, found.shape) == (labels.dtype, (1, 40, 56))
    expected = RegionRules(True, True).apply(labels[0].numpy())
    assert np.array_equal(found[0].numpy(), expected)
    assert not torch.equal(labels, found)


@pytest.mark.parametrize("setting", ["keep_largest_region", "fill_holes", "window_weights"])
def test_settings_of_another_kind(setting):
    with pytest.raises(ValueError, match=rf"test_cfg\.{setting} must be .* got 'yes'"):
        segmentor("SlidingEncoderDecoder", **{setting: "yes"})


def test_a_mistyped_setting():
    with pytest.raises(ValueError, match="is no setting: did you mean keep_largest_region"):
        segmentor("SlidingEncoderDecoder", keep_largest_regions=True)
    segmentor("SlidingEncoderDecoder", subdivision_steps=2)  # mmseg's PointHead reads it
