# Swin-L + UPerNet on ADE20K, first of the published recipe's two stages: plain fine-tuning, 512².
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-swin-l_ade20k.py 8 \
#              --cfg-options model.backbone.with_cp=True
# Cost:    234.0 M parameters, 839 GFLOPs at 512×512
# Result:  not trained here; mIoU 53.1, multi-scale 54.4, after both stages (published).
_base_ = ["_base_/backbones/swin-l.py", "_base_/tasks/upernet_ade20k_swin.py"]
model = {{_base_.under_upernet}}
