# DiversePatch-B: 12 blocks of width 768 that mix heads, trained with the diversity losses.
# Weights: from scratch unless a file is given:
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=diversepatch_b.pth
_base_ = "../diversity/published.py"
embed_dims = 768
backbone = dict(type="DiversePatchViT", arch="diversepatch-b")
under_linear = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=backbone,
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
under_upernet = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(backbone, out_indices=(2, 5, 8, 11)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
