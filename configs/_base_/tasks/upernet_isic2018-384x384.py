# UPerNet on ISIC 2018 from pretrained weights, for a CPU: 384² images, Dice and cross-entropy,
# 2200 iterations of 8 images.
_base_ = [
    "../heads/upernet_vit.py",
    "../datasets/isic2018_384x384.py",
    "../schedules/adamw_layer-decay_2200.py",
    "../default_runtime.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    # Of the lesion alone: mmseg's ignore_index names a class to leave out, not a label.
    dict(type="DiceLoss", use_sigmoid=False, ignore_index=0, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(384, 384)),
    backbone=dict(img_size=(384, 384)),
    neck=dict(norm_cfg=norm_cfg),
    decode_head=dict(channels=48, num_classes=2, norm_cfg=norm_cfg, loss_decode=loss_decode),
    auxiliary_head=dict(channels=48, num_classes=2, norm_cfg=norm_cfg),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1, save_best=None))
randomness = dict(seed=0)
