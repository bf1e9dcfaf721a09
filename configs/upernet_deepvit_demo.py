# A small DeepViT + UPerNet on the synthetic demo set: minutes on two CPU cores.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   make demo
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    1.0 M parameters, 0.7 GFLOPs at 128×128
# Result:  mIoU 90.6 on 80 held-out pictures, in minutes (README.md).
_base_ = [
    "_base_/heads/upernet_vit.py",
    "_base_/datasets/demo.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
crop_size = (128, 128)
embed_dims = 96
norm_cfg = dict(type="BN")
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        type="DeepViT",
        arch="deepvit-16b",
        embed_dims=embed_dims,
        num_layers=6,
        num_heads=6,
        num_mixing_layers=3,
        img_size=crop_size,
        patch_size=8,
        mix_norm_cfg=norm_cfg,
        out_indices=(1, 2, 4, 5),
        drop_path_rate=0.0,
    ),
    neck=dict(embed_dim=embed_dims, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[embed_dims] * 4, channels=48, num_classes=2, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=embed_dims, channels=32, num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)

max_iters = 600
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=50, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=max_iters, max_keep_ckpts=1)
)
randomness = dict(seed=0)
