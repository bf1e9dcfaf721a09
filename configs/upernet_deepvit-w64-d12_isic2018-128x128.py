# A narrow DeepViT + UPerNet on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w64-d12_isic2018-128x128.py
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    0.8 M parameters, 0.7 GFLOPs at 128×128
# Result:  results/isic2018-scratch-64/README.md.
_base_ = [
    "_base_/backbones/w64-d12.py",
    "_base_/datasets/isic2018_128x128.py",
    "_base_/schedules/adamw_1500.py",
    "_base_/default_runtime.py",
]
model = dict(
    backbone=dict(type="DeepViT", mix_norm_cfg=dict(type="BN")),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
