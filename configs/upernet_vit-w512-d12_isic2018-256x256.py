# A plain ViT + UPerNet on ISIC 2018, from scratch: what the others are compared with.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/upernet_vit-w512-d12_isic2018-256x256.py
# Cost:    43.0 M parameters, 120 GFLOPs at 256×256
# Result:  not trained here.
_base_ = [
    "_base_/backbones/w512-d12.py",
    "_base_/datasets/isic2018_256x256.py",
    "_base_/schedules/adam_400e.py",
    "_base_/default_runtime.py",
]
model = dict(
    backbone=dict(type="DeepViT", num_mixing_layers=0),
)
default_hooks = dict(checkpoint=dict(interval=6485, save_best="per_image/Dice"))
