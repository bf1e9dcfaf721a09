# CaiT-S24 + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_isic2018.py 4
# Weights: timm's, from ImageNet at 384²; from scratch: --cfg-options model.backbone.init_cfg=None
# Cost:    75.1 M parameters, 565 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/cait-s24.py",
    "_base_/datasets/isic2018.py",
    "_base_/schedules/adamw_20k.py",
    "_base_/default_runtime.py",
]
model = dict(
    decode_head=dict(num_classes=2),
    auxiliary_head=dict(num_classes=2),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="per_image/Dice"))
