# CaiT-XXS24 under UPerNet.
_base_ = "../heads/upernet_vit.py"
embed_dims = 192
model = dict(
    backbone=dict(
        type="CaiT",
        arch="cait-xxs24",
        out_indices=(5, 11, 17, 23),
        init_cfg=dict(type="Pretrained", checkpoint="timm://cait_xxs24_384.fb_dist_in1k"),
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
