# A small DeepViT + UPerNet on ISIC 2018 at 128², from scratch: under 20 minutes on two CPU cores.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w128-d6_isic2018-128x128.py
# Cost:    1.3 M parameters, 0.9 GFLOPs at 128×128
# Result:  mean Dice 88.0 on 400 images, a third party's split (results/isic2018-128/README.md).
_base_ = [
    "_base_/backbones/deepvit-w128-d6.py",
    "_base_/tasks/upernet_isic2018-128x128_3200-iterations.py",
]
model = {{_base_.under_upernet}}
