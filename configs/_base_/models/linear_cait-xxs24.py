# CaiT-XXS24 under a linear head.
_base_ = "../heads/linear.py"
embed_dims = 192
model = dict(
    backbone=dict(
        type="CaiT",
        arch="cait-xxs24",
        init_cfg=dict(type="Pretrained", checkpoint="timm://cait_xxs24_384.fb_dist_in1k"),
    ),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
