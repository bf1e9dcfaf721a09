# CaiT-M48 under UPerNet.
_base_ = "../heads/upernet_vit.py"
embed_dims = 768
model = dict(
    backbone=dict(
        type="CaiT",
        arch="cait-m48",
        out_indices=(11, 23, 35, 47),
        init_cfg=dict(type="Pretrained", checkpoint="timm://cait_m48_448.fb_dist_in1k"),
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
