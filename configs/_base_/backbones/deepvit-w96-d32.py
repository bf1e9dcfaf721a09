# DeepViT, width 96, 32 blocks, Re-attention in all, on 16×16 patches. It takes ImageNet's
# normalisation, as all that train from scratch; published DeepViTs take images from -1 to 1.
embed_dims = 96
backbone = dict(
    type="DeepViT",
    arch="deepvit-16b",
    embed_dims=embed_dims,
    num_layers=32,
    num_heads=6,
    patch_size=16,
    mix_norm_cfg=dict(type="BN"),
)
under_linear = dict(
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    backbone=dict(backbone, out_indices=(7, 15, 23, 31)),
    neck=dict(embed_dim=embed_dims, rescales=[4, 2, 1, 0.5]),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
