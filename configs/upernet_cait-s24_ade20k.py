# CaiT-S24 + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_ade20k.py 8  # 2 images on each GPU
# Weights: timm's, from ImageNet at 384²; from scratch: --cfg-options model.backbone.init_cfg=None
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/models/upernet_vit.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
embed_dims = 384
model = dict(
    backbone=dict(
        type="CaiT",
        arch="cait-s24",
        out_indices=(5, 11, 17, 23),
        init_cfg=dict(type="Pretrained", checkpoint="timm://cait_s24_384.fb_dist_in1k"),
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
