# CaiT-XXS24 + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-xxs24_ade20k.py 8
# Weights: timm's, from ImageNet at 384²; from scratch: --cfg-options model.backbone.init_cfg=None
# Cost:    39.6 M parameters, 468 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/cait-xxs24.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
