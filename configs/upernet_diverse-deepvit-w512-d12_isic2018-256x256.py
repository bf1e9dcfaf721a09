# DeepViT with the diversity losses + UPerNet on ISIC 2018, from scratch: 256², 400 epochs.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diverse-deepvit-w512-d12_isic2018-256x256.py
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    43.0 M parameters, 122 GFLOPs at 256×256
# Result:  not trained here.
_base_ = [
    "_base_/backbones/w512-d12.py",
    "_base_/diversity/published.py",
    "_base_/datasets/isic2018_256x256.py",
    "_base_/schedules/adam_400e.py",
    "_base_/default_runtime.py",
]
model = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DeepViT", mix_norm_cfg={{_base_.norm_cfg}}),
)
default_hooks = dict(checkpoint=dict(interval=6485, save_best="per_image/Dice"))
