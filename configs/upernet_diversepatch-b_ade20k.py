# DiversePatch-B (12 blocks) + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b_ade20k.py 8
# Weights: from scratch unless model.backbone.init_cfg.checkpoint is given:
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=diversepatch_b.pth
# Cost:    127.8 M parameters, 687 GFLOPs at 512×512
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = [
    "_base_/backbones/diversepatch-b.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
