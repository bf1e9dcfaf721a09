# CaiT-XXS24 + a linear head on ADE20K: 512², 160k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/linear_cait-xxs24_ade20k.py 8
# Cost:    11.1 M parameters, 43 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/cait-xxs24.py", "_base_/tasks/linear_ade20k.py"]
model = {{_base_.under_linear}}
