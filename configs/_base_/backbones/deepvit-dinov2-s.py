# DINOv2's ViT-S/14 with registers as a DeepViT: 12 blocks of width 384, whose mixes begin at the
# identity. Without a norm of the maps: --cfg-options model.backbone.mix_norm_cfg=None
# Weights: timm's; any other plain transformer of the same sizes loads as well.
embed_dims = 384
backbone = dict(
    type="DeepViT",
    arch=dict(embed_dims=embed_dims, num_layers=12, num_heads=6, mlp_ratio=4),
    patch_size=14,
    img_size=518,
    num_register_tokens=4,
    interpolate_antialias=True,
    layer_scale_init=1e-5,
    mix_norm_cfg=dict(type="SyncBN", requires_grad=True),
    init_cfg=dict(
        type="Pretrained",
        checkpoint="timm://vit_small_patch14_reg4_dinov2.lvd142m",
        warm_start=True,
    ),
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
