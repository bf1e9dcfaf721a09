# ViT-Ti/16 begun at ImageNet's weights: 12 blocks of width 192, 3 heads; images from -1 to 1.
# Weights: timm's; of a file: --cfg-options model.backbone.init_cfg.checkpoint=vit_ti.safetensors
embed_dims = 192
minus_one_to_one = dict(mean=[127.5] * 3, std=[127.5] * 3)
backbone = dict(
    type="PlainViT",
    arch=dict(embed_dims=embed_dims, num_layers=12, num_heads=3, mlp_ratio=4),
    patch_size=16,
    interpolate_antialias=True,
    init_cfg=dict(type="Pretrained", checkpoint="timm://vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
)
under_linear = dict(
    data_preprocessor=minus_one_to_one,
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    data_preprocessor=minus_one_to_one,
    backbone=dict(backbone, out_indices=(2, 5, 8, 11)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
