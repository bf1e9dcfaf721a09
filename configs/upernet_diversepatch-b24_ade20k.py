# DiversePatch-B24 (24 blocks) + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# With the diversity losses and patches mixed between images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b24_ade20k.py 8  # 2 images on each GPU
# Weights: from scratch unless model.backbone.init_cfg.checkpoint is given:
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=diversepatch_b24.pth
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = "./upernet_diversepatch-b_ade20k.py"
model = dict(backbone=dict(arch="diversepatch-b24", out_indices=(5, 11, 17, 23)))
