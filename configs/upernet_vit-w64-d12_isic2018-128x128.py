# A narrow plain ViT + UPerNet on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/upernet_vit-w64-d12_isic2018-128x128.py
# Cost:    0.8 M parameters, 0.6 GFLOPs at 128×128
# Result:  results/isic2018-scratch-64/README.md.
_base_ = ["_base_/backbones/vit-w64-d12.py", "_base_/tasks/upernet_isic2018-128x128.py"]
model = {{_base_.under_upernet}}
