# Width 512, 12 blocks, 8 heads: the size of the published protocol of ISIC 2018 from scratch.
# A backbone file adds the kind of backbone.
embed_dims = 512
arch = dict(embed_dims=embed_dims, num_layers=12, num_heads=8)
under_linear = dict(
    backbone=dict(arch=arch),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    backbone=dict(arch=arch, out_indices=(2, 5, 8, 11)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
