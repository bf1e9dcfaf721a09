# CaiT-S24 + UPerNet on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_cityscapes.py 8
# Weights: timm's, from ImageNet at 384²; from scratch: --cfg-options model.backbone.init_cfg=None
# Cost:    75.6 M parameters, 1398 GFLOPs at 768×768
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/cait-s24.py",
    "_base_/datasets/cityscapes.py",
    "_base_/schedules/adamw_80k.py",
    "_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(768, 768)),
    backbone=dict(img_size=(768, 768)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(768, 768), stride=(512, 512)),
)
