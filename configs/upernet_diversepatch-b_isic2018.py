# DiversePatch-B (12 blocks) + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b_isic2018.py 4
# Cost:    127.5 M parameters, 685 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/diversepatch-b.py", "_base_/tasks/upernet_isic2018.py"]
model = {{_base_.under_upernet}}
