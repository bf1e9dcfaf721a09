# Swin-L + UPerNet on Cityscapes, the published recipe: plain fine-tuning, crops of 1025².
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-swin-l_cityscapes-1025x1025.py 4 \
#              --cfg-options model.backbone.with_cp=True
# Cost:    233.9 M parameters, 3343 GFLOPs at 1025×1025
# Result:  not trained here; mIoU 82.7, multi-scale 83.6 (published).
_base_ = ["_base_/backbones/swin-l.py", "_base_/tasks/upernet_cityscapes-1025x1025_swin.py"]
model = {{_base_.under_upernet}}
