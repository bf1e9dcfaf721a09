# Swin-L + UPerNet on Cityscapes: 1024², 80k iterations of 16 images, drop path 0.5.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753:
#          82.7 mIoU, 83.6 multi-scale, at crops of 1025² (published).
# Start:   tools/dist_train.sh configs/upernet_diversepatch-swin-l_cityscapes.py 8 --cfg-options \
#              model.backbone.with_cp=True
# Weights: as configs/upernet_diversepatch-swin-l_ade20k.py says.
# Cost:    233.9 M parameters, 3297 GFLOPs at 1024×1024
# Result:  not trained here; mIoU 82.7, multi-scale 83.6, at crops of 1025² (published).
_base_ = [
    "_base_/models/upernet_diversepatch-swin-l.py",
    "_base_/datasets/cityscapes_1024.py",
    "_base_/schedules/adamw_80k.py",
    "_base_/default_runtime.py",
]
crop_size = (1024, 1024)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(drop_path_rate=0.5),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(mode="slide", crop_size=crop_size, stride=(768, 768), window_batch_size=1),
)
