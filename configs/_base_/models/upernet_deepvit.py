# DeepViT-S under UPerNet.
_base_ = "./upernet_vit.py"
embed_dims = 396
model = dict(
    backbone=dict(
        type="DeepViT",
        arch="deepvit-s",
        out_indices=(3, 7, 11, 15),
        mix_norm_cfg={{_base_.norm_cfg}},
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
