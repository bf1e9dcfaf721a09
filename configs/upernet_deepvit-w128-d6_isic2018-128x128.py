# A small DeepViT + UPerNet on ISIC 2018 at 128², from scratch: under 20 minutes on two CPU cores.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w128-d6_isic2018-128x128.py
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    1.3 M parameters, 0.9 GFLOPs at 128×128
# Result:  mean Dice 88.0 on 400 images, a third party's split (results/isic2018-128/README.md).
_base_ = [
    "_base_/heads/upernet_vit.py",
    "_base_/datasets/isic2018_128x128.py",
    "_base_/schedules/adamw_20k.py",
    "_base_/default_runtime.py",
]
embed_dims = 128
norm_cfg = dict(type="BN")
loss_decode = [
    dict(type="CrossEntropyLoss", loss_name="loss_ce"),
    # Of the lesion alone: mmseg's ignore_index names a class to leave out, not a label.
    dict(type="DiceLoss", use_sigmoid=False, ignore_index=0, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        type="DeepViT",
        arch="deepvit-16b",
        embed_dims=embed_dims,
        num_layers=6,
        num_heads=4,
        num_mixing_layers=3,
        img_size=(128, 128),
        patch_size=8,
        mix_norm_cfg=norm_cfg,
        out_indices=(1, 2, 4, 5),
        drop_path_rate=0.05,
    ),
    neck=dict(embed_dim=embed_dims, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[embed_dims] * 4,
        channels=32,
        num_classes=2,
        norm_cfg=norm_cfg,
        loss_decode=loss_decode,
    ),
    auxiliary_head=dict(in_channels=embed_dims, channels=32, num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)

max_iters = 3200
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=200),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=200, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=1600)
custom_hooks = [
    dict(type="EMAHook", momentum=0.003),
]
default_hooks = dict(checkpoint=dict(interval=1600, save_best="per_image/Dice"))
randomness = dict(seed=0)
