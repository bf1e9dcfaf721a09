# DiversePatch-B24 (24 blocks) + UPerNet on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b24_cityscapes.py 8
# Weights: as configs/upernet_diversepatch-b24_ade20k.py says.
# Cost:    213.6 M parameters, 2294 GFLOPs at 768×768
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = [
    "_base_/backbones/diversepatch-b24.py",
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
