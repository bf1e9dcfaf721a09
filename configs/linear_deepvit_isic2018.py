# DeepViT-S + a linear head on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 82.3, published).
# Start:   tools/dist_train.sh configs/linear_deepvit_isic2018.py 4
# Cost:    27.2 M parameters, 89 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-s.py", "_base_/tasks/linear_isic2018.py"]
model = {{_base_.under_linear}}
