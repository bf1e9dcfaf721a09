# DeepViT-S + a linear head on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 82.3, published).
# Start:   tools/dist_train.sh configs/linear_deepvit_cityscapes.py 8
# Cost:    27.8 M parameters, 279 GFLOPs at 768×768
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-s.py", "_base_/tasks/linear_cityscapes.py"]
model = {{_base_.under_linear}}
