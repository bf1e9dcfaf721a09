# DeepViT-S under a linear head, whose published weights take images from -1 to 1.
_base_ = "../heads/linear.py"
embed_dims = 396
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(type="DeepViT", arch="deepvit-s", mix_norm_cfg={{_base_.norm_cfg}}),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
