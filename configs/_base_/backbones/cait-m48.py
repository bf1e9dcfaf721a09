# CaiT-M48: 48 blocks of width 768 with talking heads.
# Weights: timm's, from ImageNet at 448²; from scratch: --cfg-options model.backbone.init_cfg=None
embed_dims = 768
backbone = dict(
    type="CaiT",
    arch="cait-m48",
    init_cfg=dict(type="Pretrained", checkpoint="timm://cait_m48_448.fb_dist_in1k"),
)
under_linear = dict(
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    backbone=dict(backbone, out_indices=(11, 23, 35, 47)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
