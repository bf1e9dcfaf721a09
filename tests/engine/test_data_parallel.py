"""Two processes under DistributedDataParallel are one with all images."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_deepvit.engine import CPUDistributedDataParallel

from ..two_processes import run_in_two

SIDE, CLASSES, EACH = 32, 3, 2  # pixels, classes, images of a process
GROUPS = dict(type="GN", num_groups=4)


def backbone(kind, **settings):
    return dict(
        type=kind,
        arch=dict(embed_dims=24, num_layers=4, num_heads=3),
        img_size=SIDE,
        patch_size=8,
        drop_path_rate=0.0,
        out_indices=(0, 1, 2, 3),
        **settings,
    )


def head(kind, **settings):
    """Without statistics of the batch and without dropout."""
    return dict(
        type=kind,
        num_classes=CLASSES,
        dropout_ratio=0.0,
        norm_cfg=GROUPS,
        align_corners=False,
        **settings,
    )


LINEAR = head("FCNHead", in_channels=24, channels=24, in_index=3, num_convs=0, concat_input=False)
UPER = head("UPerHead", in_channels=[24] * 4, channels=8, in_index=[0, 1, 2, 3], pool_scales=(1, 2))
DIVERSITY = dict(cosine=1.0, contrastive=1.0, mixing=0.0, early="blocks.0", last=-1)
CASES = {
    "deepvit": dict(
        type="EncoderDecoder",
        backbone=backbone("DeepViT", mix_norm_cfg=dict(type="SyncBN"), with_cp=True),
        neck=dict(
            type="Feature2Pyramid", embed_dim=24, rescales=[2, 1, 0.5, 0.25], norm_cfg=GROUPS
        ),
        decode_head=UPER,
    ),
    "cait": dict(type="EncoderDecoder", backbone=backbone("CaiT"), decode_head=LINEAR),
    "diversepatch": dict(
        type="DiverseEncoderDecoder",
        diversity=DIVERSITY,
        backbone=backbone("DiversePatchViT"),
        decode_head=LINEAR,
    ),
    "frozen": dict(
        type="EncoderDecoder",
        backbone={
            **backbone("DeepViT", mix_norm_cfg=dict(type="SyncBN"), frozen_stages=1),
            "out_indices": (2,),
        },
        decode_head={**LINEAR, "in_index": 0},
    ),
}


def build(name):
    torch.manual_seed(0)
    model = MODELS.build(CASES[name])
    model.init_weights()
    return model.double().train()


def batch(part):
    """Images and samples of one process, or of both."""
    generator = torch.Generator().manual_seed(1)
    shape = (2 * EACH, 3, SIDE, SIDE)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (2 * EACH, 1, SIDE, SIDE), generator=generator)
    shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), (SIDE, SIDE))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=shapes) for label in labels]
    return images[part], samples[part]


def gradients(model, part, steps):
    """Gradients of the last of some steps; the first ones find parameters that get none."""
    segmentor = getattr(model, "module", model)
    for _ in range(steps):
        model.zero_grad()
        segmentor.parse_losses(model(*batch(part), mode="loss"))[0].backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in segmentor.named_parameters()
        if parameter.requires_grad
    }


def work(rank, results):
    for name in CASES:
        model = CPUDistributedDataParallel(build(name), device_ids=[rank], broadcast_buffers=False)
        part = slice(rank * EACH, (rank + 1) * EACH)
        own = gradients(model, part, steps=2)
        results[rank, name] = own, dict(model.module.named_buffers())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_in_two(work, tmp_path_factory.mktemp("store"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_gradients_and_statistics_of_the_joint_batch(name, results):
    model = build(name)
    joint = gradients(model, slice(None), steps=2)
    for rank in (0, 1):
        own, buffers = results[rank, name]
        assert list(own) == list(joint)
        for key, gradient in joint.items():
            torch.testing.assert_close(own[key], gradient, rtol=1e-6, atol=1e-9, msg=key)
        for key, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[key], buffer, msg=key)
