# DiversePatch-B24 (24 blocks) + a linear head on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/linear_diversepatch-b24_cityscapes.py 8
# Cost:    172.5 M parameters, 1251 GFLOPs at 768×768
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = ["_base_/backbones/diversepatch-b24.py", "_base_/tasks/linear_cityscapes.py"]
model = {{_base_.under_linear}}
