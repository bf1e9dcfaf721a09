"""Tiny segmentors of every kind, and batches for them."""

import copy

import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_deepvit  # noqa: F401  (registers)

CLASSES = 5
_PLAIN = dict(img_size=32, patch_size=8, embed_dims=48, num_layers=4, out_indices=(0, 1, 2, 3))
_SWIN = dict(depths=(1, 1, 2, 2), num_heads=(1, 2, 2, 4), window_size=2)
_MIT = dict(num_layers=(1, 1, 1, 2), num_heads=(1, 2, 4, 8))
BACKBONES = {
    "ours": dict(_PLAIN, type="DeepViT", arch="deepvit-16b", num_mixing_layers=2),
    "vit": dict(_PLAIN, type="VisionTransformer", num_heads=4),
    "swin": dict(_SWIN, type="SwinTransformer", embed_dims=8, drop_path_rate=0.0),
    "mit": dict(_MIT, type="MixVisionTransformer", embed_dims=8, drop_path_rate=0.0),
}
WIDTHS = {"ours": [48] * 4, "vit": [48] * 4, "swin": [8, 16, 32, 64], "mit": [8, 16, 32, 64]}
#: Weights without any diversity loss.
ZERO = dict(cosine=0, contrastive=0, mixing=0)
#: Early and last tokens by indices of outputs of equal size, and by names.
INDEXED = {"ours": (0, -1), "vit": (0, -1)}
NAMED = {
    "ours": ("blocks.0", "blocks.3"),
    "vit": ("layers.0", "layers.3"),
    "swin": ("stages.2.blocks.0", "stages.2.blocks.1"),
}
_HEAD = dict(num_classes=CLASSES, align_corners=False, dropout_ratio=0.0)


def make_config(kind, head="linear", neck=False, auxiliary=False, diversity=None, **backbone):
    """Config of a segmentor; a plain EncoderDecoder if ``diversity`` is None."""
    widths = WIDTHS[kind]
    cfg = dict(type="EncoderDecoder", backbone=dict(BACKBONES[kind], **backbone))
    norm = dict(norm_cfg=dict(type="BN"))
    if neck:
        cfg["neck"] = dict(norm, type="Feature2Pyramid", embed_dim=48, rescales=[4, 2, 1, 0.5])
    linear = dict(_HEAD, type="FCNHead", num_convs=0, concat_input=False)
    if head == "linear":
        cfg["decode_head"] = dict(linear, in_index=3, in_channels=widths[3], channels=widths[3])
    else:
        inputs = dict(in_index=[0, 1, 2, 3], in_channels=widths)
        uper = dict(type="UPerHead", channels=8, pool_scales=(1, 2))
        cfg["decode_head"] = {**_HEAD, **uper, **inputs, **norm}
    if auxiliary:
        cfg["auxiliary_head"] = dict(linear, in_index=2, in_channels=widths[2], channels=widths[2])
    if diversity is not None:
        cfg.update(type="DiverseEncoderDecoder", diversity=diversity)
    return cfg


def make_segmentor(*args, seed=0, **options):
    torch.manual_seed(seed)
    segmentor = MODELS.build(copy.deepcopy(make_config(*args, **options)))
    segmentor.backbone.init_weights()  # quietly
    segmentor.train()
    return segmentor


def make_batch(size=(64, 64), batch=2, seed=1):
    """Images and samples; some pixels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch, 3, *size, generator=generator)
    samples = []
    for _ in range(batch):
        labels = torch.randint(0, CLASSES, (1, *size), generator=generator)
        labels[:, :9, :20] = 255
        metainfo = dict(ori_shape=size, img_shape=size, pad_shape=size)
        samples.append(SegDataSample(metainfo=metainfo))
        samples[-1].gt_sem_seg = PixelData(data=labels)
    return inputs, samples


def run(segmentor, inputs, samples):
    """Losses and gradients by parameter, as a training step makes them."""
    segmentor.zero_grad()
    losses = segmentor(inputs, samples, mode="loss")
    total, logged = segmentor.parse_losses(losses)
    total.backward()
    return logged, {name: p.grad for name, p in segmentor.named_parameters()}
