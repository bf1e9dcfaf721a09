# DeepViT-L (32 blocks) + a linear head on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 83.1, published).
# Start:   tools/dist_train.sh configs/linear_deepvit-l_isic2018.py 4
# Cost:    58.8 M parameters, 185 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-l.py", "_base_/tasks/linear_isic2018.py"]
model = {{_base_.under_linear}}
