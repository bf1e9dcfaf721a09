# DINOv3's ViT-S/16: 12 blocks of width 384, rotary positions, 4 registers.
# Weights: timm's, under the DINOv3 licence.
embed_dims = 384
backbone = dict(
    type="PlainViT",
    arch="timm://vit_small_patch16_dinov3.lvd1689m",
    init_cfg=dict(type="Pretrained", checkpoint="timm://vit_small_patch16_dinov3.lvd1689m"),
)
under_linear = dict(
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    backbone=dict(backbone, out_indices=(2, 5, 8, 11)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
