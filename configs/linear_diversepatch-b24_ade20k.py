# DiversePatch-B24 (24 blocks) + a linear head on ADE20K: 512², 160k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/linear_diversepatch-b24_ade20k.py 8
# Weights: as configs/upernet_diversepatch-b24_ade20k.py says.
# Cost:    171.7 M parameters, 442 GFLOPs at 512×512
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = [
    "_base_/models/linear_diversepatch-b24.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
