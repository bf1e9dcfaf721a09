# A plain ViT-Ti begun at ImageNet's weights + a linear head on CamVid at 352², on a CPU.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/linear_vit-ti_camvid.py --amp bf16
# Cost:    5.6 M parameters, 7 GFLOPs at 352×352
# Result:  not trained here.
_base_ = ["_base_/backbones/vit-ti.py", "_base_/tasks/linear_camvid.py"]
model = {{_base_.under_linear}}
