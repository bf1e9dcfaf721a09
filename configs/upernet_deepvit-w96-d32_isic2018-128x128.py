# 32 narrow blocks, Re-attention in all, + UPerNet on ISIC 2018 at 128²: do maps collapse?
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w96-d32_isic2018-128x128.py
# Cost:    3.4 M parameters, 0.6 GFLOPs at 128×128
# Result:  results/collapse/README.md, compared with a plain ViT.
_base_ = [
    "_base_/backbones/deepvit-w96-d32.py",
    "_base_/tasks/upernet_isic2018-128x128_collapse.py",
]
model = {{_base_.under_upernet}}
