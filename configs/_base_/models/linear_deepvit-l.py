# DeepViT-L (32 blocks) under a linear head.
_base_ = "./linear_vit.py"
embed_dims = 420
model = dict(
    backbone=dict(type="DeepViT", arch="deepvit-l", mix_norm_cfg={{_base_.norm_cfg}}),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
