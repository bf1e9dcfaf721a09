# Swin-L + UPerNet on Cityscapes, the published recipe: plain fine-tuning, crops of 1025², 80k
# iterations of 8 images (4 GPUs × 2), drop path 0.5, tests on whole images of 2049×1025.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-swin-l_cityscapes-1025x1025.py 4 --cfg-options \
#              model.backbone.with_cp=True
# Weights: as configs/upernet_diversepatch-swin-l_ade20k.py says.
# Note:    the published heads have 20 outputs for the 19 classes. No label names the last one, and
#          prediction passes over it. Other values are the published ones too, in the config with
#          Swin-L's widths. The published command names another config, of 160k, which is not
#          published; beside it stand 82.9 and 83.9.
# Cost:    233.9 M parameters, 3343 GFLOPs at 1025×1025
# Result:  not trained here; mIoU 82.7, multi-scale 83.6 (published).
_base_ = [
    "_base_/backbones/swin-l.py",
    "_base_/datasets/cityscapes_1025x1025.py",
    "_base_/schedules/adamw_80k.py",
    "_base_/default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(drop_path_rate=0.5),
    decode_head=dict(num_classes=20),
    auxiliary_head=dict(num_classes=20),
    test_cfg=dict(unscored_classes=1),
)
auto_scale_lr = dict(base_batch_size=8)
