# Plain ViT, the sizes of deepvit-w96-d32.py: width 96, 32 blocks, 16×16 patches, mlp_ratio 3.
embed_dims = 96
backbone = dict(
    type="PlainViT",
    arch=dict(embed_dims=embed_dims, num_layers=32, num_heads=6, mlp_ratio=3),
    patch_size=16,
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
