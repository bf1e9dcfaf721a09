# CaiT-S24 under a linear head.
_base_ = "../heads/linear.py"
embed_dims = 384
model = dict(
    backbone=dict(
        type="CaiT",
        arch="cait-s24",
        init_cfg=dict(type="Pretrained", checkpoint="timm://cait_s24_384.fb_dist_in1k"),
    ),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
