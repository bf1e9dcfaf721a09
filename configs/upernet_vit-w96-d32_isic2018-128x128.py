# The plain ViT beside upernet_deepvit-w96-d32_isic2018-128x128.py: the same, but no heads are mixed.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/upernet_vit-w96-d32_isic2018-128x128.py
# Cost:    3.4 M parameters, 0.6 GFLOPs at 128×128
# Result:  results/collapse/README.md.
_base_ = "./upernet_deepvit-w96-d32_isic2018-128x128.py"
model = dict(backbone=dict(num_mixing_layers=0))
