# A narrow plain ViT with diversity losses + UPerNet on ISIC 2018 at 128², on a CPU.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diverse-vit-w64-d12_isic2018-128x128.py
# Cost:    0.8 M parameters, 0.6 GFLOPs at 128×128
# Result:  results/isic2018-scratch-64/README.md.
_base_ = [
    "_base_/backbones/w64-d12.py",
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
