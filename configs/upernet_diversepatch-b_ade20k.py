# DiversePatch-B (12 blocks) + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# With the diversity losses and patches mixed between images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b_ade20k.py 8  # 2 images on each GPU
# Weights: from scratch unless model.backbone.init_cfg.checkpoint is given:
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=diversepatch_b.pth
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = [
    "_base_/models/upernet_vit.py",
    "_base_/models/diversity.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
embed_dims = 768
model = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DiversePatchViT", arch="diversepatch-b", out_indices=(2, 5, 8, 11)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
