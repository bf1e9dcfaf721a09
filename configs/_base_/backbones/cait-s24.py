# CaiT-S24: 24 blocks of width 384 with talking heads.
# Weights: timm's, from ImageNet at 384²; from scratch: --cfg-options model.backbone.init_cfg=None
embed_dims = 384
backbone = dict(
    type="CaiT",
    arch="cait-s24",
    init_cfg=dict(type="Pretrained", checkpoint="timm://cait_s24_384.fb_dist_in1k"),
)
under_linear = dict(
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    backbone=dict(backbone, out_indices=(5, 11, 17, 23)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
