# DiversePatch-B (12 blocks) + a linear head on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/linear_diversepatch-b_isic2018.py 4
# Cost:    86.4 M parameters, 221 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/diversepatch-b.py", "_base_/tasks/linear_isic2018.py"]
model = {{_base_.under_linear}}
