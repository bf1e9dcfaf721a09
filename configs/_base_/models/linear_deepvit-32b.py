# DeepViT-32B (32 blocks) under a linear head.
_base_ = "./linear_vit.py"
embed_dims = 384
model = dict(
    backbone=dict(type="DeepViT", arch="deepvit-32b", mix_norm_cfg={{_base_.norm_cfg}}),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
