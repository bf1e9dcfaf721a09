# UPerNet on ISIC 2018 from scratch, for a CPU: 8×8 patches of 128² images, Dice and
# cross-entropy, 1500 iterations of 8 images.
_base_ = [
    "../heads/upernet_vit.py",
    "../datasets/isic2018_128x128.py",
    "../schedules/adamw_1500.py",
    "../default_runtime.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    # Of the lesion alone: mmseg's ignore_index names a class to leave out, not a label.
    dict(type="DiceLoss", use_sigmoid=False, ignore_index=0, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(img_size=(128, 128), patch_size=8, drop_path_rate=0.05),
    neck=dict(rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(channels=32, num_classes=2, norm_cfg=norm_cfg, loss_decode=loss_decode),
    auxiliary_head=dict(channels=32, num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
