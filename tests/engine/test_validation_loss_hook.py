from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_deepvit.engine import ValidationLossHook
from mmseg_deepvit.errors import UserError

SIDE = 32
CE = dict(type="CrossEntropyLoss", loss_weight=0.4)
DICE = dict(type="DiceLoss", loss_weight=2.0, loss_name="loss_dice")


def segmentor(test_cfg=None, **head):
    init_default_scope("mmseg")
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=4)
    backbone = dict(type="DeepViT", arch=arch, img_size=SIDE, patch_size=8, drop_path_rate=0.5)
    decoder = dict(type="FCNHead", num_convs=0, concat_input=False, align_corners=False)
    decoder.update(in_index=0, in_channels=24, channels=24, num_classes=3, dropout_ratio=0.5)
    decoder |= {"loss_decode": [CE, DICE], **head}
    model = dict(type="SlidingEncoderDecoder", backbone=backbone, decode_head=decoder)
    model.update(test_cfg=test_cfg or dict(mode="whole"))
    model = MODELS.build(ConfigDict(model)).eval()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model


def labelled(count, size=(SIDE, SIDE), ignored=True):
    """Images and samples with masks that have ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, *size, generator=generator)
    masks = torch.randint(3, (count, 1, *size), generator=generator)
    if ignored:
        masks[:, :, :5] = 255
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size)
    samples = [SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=mask)) for mask in masks]
    return images, samples


def validate(model, images, samples):
    """What the hook adds to the scores of a validation of these images, one by one."""
    hook, dataset = ValidationLossHook(), SimpleNamespace(dataset=samples)
    runner, metrics = SimpleNamespace(model=model, val_dataloader=dataset), {"mIoU": 1.0}
    hook.before_val(runner)
    for i, (image, sample) in enumerate(zip(images, samples, strict=True)):
        with torch.no_grad():
            hook.after_val_iter(runner, i, None, model.predict(image[None], [sample]))
    hook.after_val_epoch(runner, metrics)
    assert metrics.pop("mIoU") == 1.0
    return metrics


def test_the_training_loss_without_dropout():
    """Of each image, by mmseg's own loss of a model in evaluation."""
    model, (images, samples) = segmentor(), labelled(3)
    found = validate(model, images, samples)
    with torch.no_grad():
        each = [model.loss(images[i : i + 1], samples[i : i + 1]) for i in range(3)]
    for name in ("loss_ce", "loss_dice"):
        expected = sum(float(losses[f"decode.{name}"]) for losses in each) / 3
        assert found[f"val/{name}"] == pytest.approx(expected, rel=1e-5)
    assert found["val/loss"] == pytest.approx(found["val/loss_ce"] + found["val/loss_dice"])
    assert ValidationLossHook().score_names(model) == list(found)


def test_windows_are_averaged_first():
    model = segmentor(dict(mode="slide", crop_size=(SIDE, SIDE), stride=(20, 20)))
    images, samples = labelled(1, (40, 56))
    found = validate(model, images, samples)
    with torch.no_grad():
        logits = model.slide_inference(images, [samples[0].metainfo])
        expected = model.decode_head.loss_by_feat(logits, samples)
    assert found["val/loss_ce"] == pytest.approx(float(expected["loss_ce"]), rel=1e-5)


def test_one_output_for_two_classes():
    """The segmentor takes its sigmoid; the loss is of the logit."""
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = segmentor(num_classes=2, out_channels=1, threshold=0.5, loss_decode=loss)
    images, samples = labelled(2)
    for sample in samples:
        sample.gt_sem_seg.data[sample.gt_sem_seg.data == 2] = 1
    found = validate(model, images, samples)
    with torch.no_grad():
        each = [model.loss(images[i : i + 1], samples[i : i + 1]) for i in range(2)]
    expected = sum(float(losses["decode.loss_ce"]) for losses in each) / 2
    assert found["val/loss"] == pytest.approx(expected, rel=1e-4)


def test_an_output_that_is_never_scored():
    """As if its logit were lowest; weights of classes fit all outputs."""
    weighted = dict(CE, class_weight=[1.0, 2.0, 3.0, 1.0])
    model = segmentor(dict(mode="whole", unscored_classes=1), num_classes=4, loss_decode=weighted)
    model.decode_head.conv_seg.bias.data[3] = -1e4
    images, samples = labelled(1)
    found = validate(model, images, samples)
    with torch.no_grad():
        expected = model.loss(images, samples)["decode.loss_ce"]
    assert found["val/loss"] == pytest.approx(float(expected), rel=1e-5)


def test_images_without_a_labelled_pixel_do_not_count():
    model, (images, samples) = segmentor(), labelled(2)
    expected = validate(model, images[:1], samples[:1])
    samples[1].gt_sem_seg.data[:] = 255
    assert validate(model, images, samples) == expected
    assert validate(model, images[1:], samples[1:]) == {}


def test_heads_whose_loss_needs_more():
    head = dict(type="EncHead", in_channels=(24,), in_index=(0,), num_codes=4, use_se_loss=False)
    model = segmentor()
    model.decode_head = MODELS.build(dict(head, channels=8, num_classes=3))
    with pytest.raises(UserError, match=r"loss of EncHead needs more than its logits.*--val-loss"):
        ValidationLossHook().before_val(SimpleNamespace(model=model))
