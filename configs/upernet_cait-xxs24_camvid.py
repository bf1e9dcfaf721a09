# CaiT-XXS24 begun at ImageNet's weights + UPerNet on CamVid at 352², on a CPU.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   python tools/train.py configs/upernet_cait-xxs24_camvid.py --amp bf16
# Cost:    12.1 M parameters, 19 GFLOPs at 352×352
# Result:  not trained here.
_base_ = ["_base_/backbones/cait-xxs24.py", "_base_/tasks/upernet_camvid.py"]
model = {{_base_.under_upernet}}
