# A narrow plain ViT + a linear head on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/linear_vit-w64-d12_isic2018-128x128.py
# Cost:    0.7 M parameters, 0.1 GFLOPs at 128×128
# Result:  results/depth/README.md, at three depths.
_base_ = ["_base_/backbones/vit-w64-d12.py", "_base_/tasks/linear_isic2018-128x128.py"]
model = {{_base_.under_linear}}
