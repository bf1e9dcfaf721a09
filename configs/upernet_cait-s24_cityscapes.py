# CaiT-S24 + UPerNet on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_cityscapes.py 8
# Cost:    75.6 M parameters, 1398 GFLOPs at 768×768
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/cait-s24.py", "_base_/tasks/upernet_cityscapes.py"]
model = {{_base_.under_upernet}}
