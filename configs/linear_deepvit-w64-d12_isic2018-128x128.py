# A narrow DeepViT + a linear head on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/linear_deepvit-w64-d12_isic2018-128x128.py
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    0.7 M parameters, 0.1 GFLOPs at 128×128
# Result:  results/depth/README.md, at three depths.
_base_ = [
    "_base_/models/linear_vit-64.py",
    "_base_/datasets/isic2018_128x128.py",
    "_base_/schedules/adamw_1500.py",
    "_base_/default_runtime.py",
]
model = dict(
    backbone=dict(type="DeepViT", mix_norm_cfg=dict(type="BN")),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
