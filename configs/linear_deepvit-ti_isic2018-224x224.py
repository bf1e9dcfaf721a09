# A DeepViT begun at a plain ViT-Ti + a linear head on ISIC 2018 at 224², on a CPU.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/linear_deepvit-ti_isic2018-224x224.py --amp bf16
# Cost:    5.5 M parameters, 3 GFLOPs at 224×224
# Result:  not trained here.
_base_ = ["_base_/backbones/deepvit-ti.py", "_base_/tasks/linear_isic2018-224x224.py"]
model = {{_base_.under_linear}}
