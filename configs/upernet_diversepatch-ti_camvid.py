# A DiversePatch ViT begun at a plain ViT-Ti + UPerNet on CamVid at 352², on a CPU.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diversepatch-ti_camvid.py --amp bf16
# Cost:    6.7 M parameters, 12 GFLOPs at 352×352
# Result:  not trained here.
_base_ = ["_base_/backbones/diversepatch-ti.py", "_base_/tasks/upernet_camvid.py"]
model = {{_base_.under_upernet}}
