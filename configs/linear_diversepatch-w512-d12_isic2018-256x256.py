# DiversePatch ViT + a linear head on ISIC 2018, from scratch: 256², 400 epochs, batches of 4.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/linear_diversepatch-w512-d12_isic2018-256x256.py
# Cost:    38.5 M parameters, 107 GFLOPs at 256×256
# Result:  not trained here.
_base_ = ["_base_/backbones/diversepatch-w512-d12.py", "_base_/tasks/linear_isic2018-256x256.py"]
model = {{_base_.under_linear}}
