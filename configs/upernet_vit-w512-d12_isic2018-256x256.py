# A plain ViT + UPerNet on ISIC 2018, from scratch: what the others are compared with.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/upernet_vit-w512-d12_isic2018-256x256.py
# Cost:    43.0 M parameters, 120 GFLOPs at 256×256
# Result:  not trained here.
_base_ = ["_base_/backbones/vit-w512-d12.py", "_base_/tasks/upernet_isic2018-256x256.py"]
model = {{_base_.under_upernet}}
