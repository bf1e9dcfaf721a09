# A plain ViT-Ti begun at ImageNet's weights + UPerNet on CamVid at 352², on a CPU.
# Paper:   ViT, https://arxiv.org/abs/2010.11929.
# Start:   python tools/train.py configs/upernet_vit-ti_camvid.py --amp bf16
# Cost:    6.7 M parameters, 12 GFLOPs at 352×352
# Result:  mIoU 71.7, three seeds (results/camvid/README.md).
_base_ = ["_base_/backbones/vit-ti.py", "_base_/tasks/upernet_camvid.py"]
model = {{_base_.under_upernet}}
