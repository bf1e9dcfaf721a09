# A small DeepViT + UPerNet on the synthetic demo set: minutes on two CPU cores.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   make demo
# Cost:    1.0 M parameters, 0.7 GFLOPs at 128×128
# Result:  mIoU 90.6 on 80 held-out pictures, in minutes (README.md).
_base_ = ["_base_/backbones/deepvit-w96-d6.py", "_base_/tasks/upernet_demo.py"]
model = {{_base_.under_upernet}}
