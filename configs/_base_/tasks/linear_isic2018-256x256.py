# A linear head on ISIC 2018 from scratch, the published protocol: 8×8 patches of 256² images,
# Dice and cross-entropy, 400 epochs, batches of 4. All backbones keep ImageNet's normalisation.
_base_ = [
    "../heads/linear.py",
    "../datasets/isic2018_256x256.py",
    "../schedules/adam_400e.py",
    "../default_runtime.py",
]
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    dict(type="DiceLoss", use_sigmoid=False, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(img_size=(256, 256), patch_size=8),
    decode_head=dict(num_classes=2, loss_decode=loss_decode),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=6485, save_best="per_image/Dice"))
