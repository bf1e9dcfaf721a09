# DeepViT-32B (32 blocks) under UPerNet, whose published weights take images from -1 to 1.
_base_ = "../heads/upernet_vit.py"
embed_dims = 384
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        type="DeepViT",
        arch="deepvit-32b",
        out_indices=(7, 15, 23, 31),
        mix_norm_cfg={{_base_.norm_cfg}},
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
