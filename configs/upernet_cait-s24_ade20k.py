# CaiT-S24 + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_ade20k.py 8
# Cost:    75.2 M parameters, 567 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/cait-s24.py", "_base_/tasks/upernet_ade20k.py"]
model = {{_base_.under_upernet}}
