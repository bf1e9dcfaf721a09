# A small DeepViT + UPerNet on ISIC 2018 at 128², from scratch: 20 minutes on two CPU cores.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-tiny_isic2018-128.py
# Cost:    2.2 M parameters, 2 GFLOPs at 128×128
_base_ = [
    "_base_/models/upernet_vit.py",
    "_base_/datasets/isic2018_128.py",
    "_base_/schedules/adamw_20k.py",
    "_base_/default_runtime.py",
]
embed_dims = 128
norm_cfg = dict(type="BN")
loss_decode = [
    dict(type="CrossEntropyLoss", loss_name="loss_ce"),
    dict(type="DiceLoss", use_sigmoid=False, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        type="DeepViT",
        arch="deepvit-16b",
        embed_dims=embed_dims,
        num_layers=8,
        num_heads=4,
        num_mixing_layers=4,
        stem="conv",
        img_size=(128, 128),
        patch_size=8,
        mix_norm_cfg=norm_cfg,
        out_indices=(1, 3, 5, 7),
        drop_path_rate=0.1,
    ),
    neck=dict(embed_dim=embed_dims, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[embed_dims] * 4,
        channels=64,
        num_classes=2,
        norm_cfg=norm_cfg,
        loss_decode=loss_decode,
    ),
    auxiliary_head=dict(in_channels=embed_dims, channels=32, num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)

max_iters = 1500
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=100),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=100, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=500)
custom_hooks = [
    dict(type="ClassCheckHook"),
    dict(type="EMAHook", momentum=0.005),
]
default_hooks = dict(checkpoint=dict(interval=500, save_best="per_image/Dice"))
randomness = dict(seed=0)
