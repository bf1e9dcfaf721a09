# DeepViT + UPerNet on ISIC 2018, from scratch: 256², 400 epochs, batches of 4.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-w512-d12_isic2018-256x256.py
# Cost:    43.0 M parameters, 122 GFLOPs at 256×256
# Result:  not trained here; 89.84 Dice is quoted for DeepViT so, on another split (published).
_base_ = ["_base_/backbones/deepvit-w512-d12.py", "_base_/tasks/upernet_isic2018-256x256.py"]
model = {{_base_.under_upernet}}
