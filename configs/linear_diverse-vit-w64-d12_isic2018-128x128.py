# A narrow plain ViT with diversity losses + a linear head on ISIC 2018 at 128², on a CPU.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/linear_diverse-vit-w64-d12_isic2018-128x128.py
# Cost:    0.7 M parameters, 0.1 GFLOPs at 128×128
# Result:  results/depth/README.md, at three depths.
_base_ = [
    "_base_/models/linear_vit-64.py",
    "_base_/diversity/short.py",
    "_base_/datasets/isic2018_128x128.py",
    "_base_/schedules/adamw_1500.py",
    "_base_/default_runtime.py",
]
model = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DeepViT", num_mixing_layers=0),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
