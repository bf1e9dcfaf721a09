# DeepViT-S: 16 blocks of width 396, Re-attention in the last 5.
# Weights: from scratch unless a file is given; published ones take images from -1 to 1:
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=deepvit_s.pth
embed_dims = 396
minus_one_to_one = dict(mean=[127.5] * 3, std=[127.5] * 3)
backbone = dict(
    type="DeepViT", arch="deepvit-s", mix_norm_cfg=dict(type="SyncBN", requires_grad=True)
)
under_linear = dict(
    data_preprocessor=minus_one_to_one,
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    data_preprocessor=minus_one_to_one,
    backbone=dict(backbone, out_indices=(3, 7, 11, 15)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
