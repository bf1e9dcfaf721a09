# A linear head on ISIC 2018 from scratch, for a CPU: 16×16 patches of 128² images, Dice and
# cross-entropy, 1500 iterations of 8 images.
_base_ = [
    "../heads/linear.py",
    "../datasets/isic2018_128x128.py",
    "../schedules/adamw_1500.py",
    "../default_runtime.py",
]
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    # Of the lesion alone: mmseg's ignore_index names a class to leave out, not a label.
    dict(type="DiceLoss", use_sigmoid=False, ignore_index=0, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        img_size=(128, 128), patch_size=16, interpolate_antialias=True, drop_path_rate=0.05
    ),
    decode_head=dict(num_classes=2, loss_decode=loss_decode),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
