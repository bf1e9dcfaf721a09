# DeepViT-L (32 blocks) + a linear head on ADE20K: 512², 160k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 83.1, published).
# Start:   tools/dist_train.sh configs/linear_deepvit-l_ade20k.py 8
# Cost:    58.9 M parameters, 186 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-l.py", "_base_/tasks/linear_ade20k.py"]
model = {{_base_.under_linear}}
