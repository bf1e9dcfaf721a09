# DeepViT-S + a linear head on ADE20K: 512², 160k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 82.3, published).
# Start:   tools/dist_train.sh configs/linear_deepvit_ade20k.py 8
#          Linear probing: --cfg-options model.backbone.frozen_stages=16
# Weights: as configs/upernet_deepvit_ade20k.py says.
# Cost:    27.3 M parameters, 89 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/models/linear_deepvit.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
