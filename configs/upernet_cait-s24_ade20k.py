# CaiT-S24 + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_ade20k.py 8
# Weights: timm's, from ImageNet at 384²; from scratch: --cfg-options model.backbone.init_cfg=None
# Cost:    75.2 M parameters, 567 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/cait-s24.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
