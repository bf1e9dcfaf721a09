# DeepViT + UPerNet on ISIC 2018, from scratch: 256², 400 epochs, batches of 4.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w512-d12_isic2018-256x256.py
# Note:    ImageNet's normalisation, as in all runs from scratch; published weights take 127.5.
# Cost:    43.0 M parameters, 122 GFLOPs at 256×256
# Result:  not trained here; 89.84 Dice is quoted for DeepViT so, on another split (published).
_base_ = [
    "_base_/backbones/w512-d12.py",
    "_base_/datasets/isic2018_256x256.py",
    "_base_/schedules/adam_400e.py",
    "_base_/default_runtime.py",
]
model = dict(
    backbone=dict(type="DeepViT", mix_norm_cfg={{_base_.norm_cfg}}),
)
default_hooks = dict(checkpoint=dict(interval=6485, save_best="per_image/Dice"))
