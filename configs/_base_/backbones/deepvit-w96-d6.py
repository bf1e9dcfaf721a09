# DeepViT, width 96, 6 blocks, Re-attention in the last 3. It takes ImageNet's normalisation, as
# all that train from scratch; published DeepViTs take images from -1 to 1.
embed_dims = 96
backbone = dict(
    type="DeepViT",
    arch="deepvit-16b",
    embed_dims=embed_dims,
    num_layers=6,
    num_heads=6,
    num_mixing_layers=3,
    mix_norm_cfg=dict(type="BN"),
)
under_linear = dict(
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    backbone=dict(backbone, out_indices=(1, 2, 4, 5)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
