# UPerNet on the synthetic demo set: 8×8 patches of 128² images, 600 iterations of 8.
_base_ = [
    "../heads/upernet_vit.py",
    "../datasets/demo.py",
    "../schedules/adamw_160k.py",
    "../default_runtime.py",
]
norm_cfg = dict(type="BN")
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(img_size=(128, 128), patch_size=8, drop_path_rate=0.0),
    neck=dict(rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(channels=48, num_classes=2, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=32, num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)

max_iters = 600
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=50, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=max_iters, max_keep_ckpts=1)
)
randomness = dict(seed=0)
