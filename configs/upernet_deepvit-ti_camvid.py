# A DeepViT begun at a plain ViT-Ti + UPerNet on CamVid at 352², on a CPU.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-ti_camvid.py --amp bf16
# Cost:    6.7 M parameters, 12 GFLOPs at 352×352
# Result:  mIoU 71.5, three seeds (results/camvid/README.md).
_base_ = ["_base_/backbones/deepvit-ti.py", "_base_/tasks/upernet_camvid.py"]
model = {{_base_.under_upernet}}
