# DeepViT-32B (32 blocks) + a linear head on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 80.9, published).
# Start:   tools/dist_train.sh configs/linear_deepvit-32b_isic2018.py 4
# Cost:    48.0 M parameters, 159 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-32b.py", "_base_/tasks/linear_isic2018.py"]
model = {{_base_.under_linear}}
