# A narrow plain ViT + UPerNet on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/upernet_vit-w64-d12_isic2018-128x128.py
# Cost:    0.8 M parameters, 0.6 GFLOPs at 128×128
# Result:  results/isic2018-scratch-64/README.md.
_base_ = [
    "_base_/backbones/w64-d12.py",
    "_base_/datasets/isic2018_128x128.py",
    "_base_/schedules/adamw_1500.py",
    "_base_/default_runtime.py",
]
model = dict(
    backbone=dict(type="DeepViT", num_mixing_layers=0),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
