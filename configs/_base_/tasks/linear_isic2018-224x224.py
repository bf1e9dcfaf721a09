# A linear head on ISIC 2018 from pretrained weights, for a CPU: 224² images, Dice and
# cross-entropy, 1600 iterations of 8 images.
_base_ = [
    "../heads/linear.py",
    "../datasets/isic2018_224x224.py",
    "../schedules/adamw_layer-decay_1600.py",
    "../default_runtime.py",
]
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    # Of the lesion alone: mmseg's ignore_index names a class to leave out, not a label.
    dict(type="DiceLoss", use_sigmoid=False, ignore_index=0, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(224, 224)),
    backbone=dict(img_size=(224, 224)),
    decode_head=dict(num_classes=2, loss_decode=loss_decode),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1, save_best=None))
randomness = dict(seed=0)
