# 32 narrow blocks, re-attention in all, on ISIC 2018 at 128²: to see whether maps collapse.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w96-d32_isic2018-128x128.py
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    3.4 M parameters, 0.6 GFLOPs at 128×128
# Result:  results/collapse/README.md, beside the plain ViT of upernet_vit-w96-d32_isic2018-128x128.py.
_base_ = "./upernet_deepvit-w128-d6_isic2018-128x128.py"
embed_dims = 96
model = dict(
    backbone=dict(
        embed_dims=embed_dims,
        num_layers=32,
        num_heads=6,
        num_mixing_layers=32,
        patch_size=16,
        out_indices=(7, 15, 23, 31),
    ),
    neck=dict(embed_dim=embed_dims, rescales=[4, 2, 1, 0.5]),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
max_iters = 1500
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=200),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=200, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
custom_hooks = [
    dict(type="CollapseHook", interval=250),
]
