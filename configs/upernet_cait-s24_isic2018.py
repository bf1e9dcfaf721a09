# CaiT-S24 + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-s24_isic2018.py 4
# Cost:    75.1 M parameters, 565 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/cait-s24.py", "_base_/tasks/upernet_isic2018.py"]
model = {{_base_.under_upernet}}
