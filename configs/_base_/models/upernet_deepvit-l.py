# DeepViT-L (32 blocks) under UPerNet.
_base_ = "./upernet_vit.py"
embed_dims = 420
model = dict(
    backbone=dict(
        type="DeepViT",
        arch="deepvit-l",
        out_indices=(7, 15, 23, 31),
        mix_norm_cfg={{_base_.norm_cfg}},
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
