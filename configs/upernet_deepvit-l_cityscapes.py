# DeepViT-L (32 blocks) + UPerNet on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 83.1, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit-l_cityscapes.py 8
# Cost:    91.9 M parameters, 1564 GFLOPs at 768×768
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-l.py", "_base_/tasks/upernet_cityscapes.py"]
model = {{_base_.under_upernet}}
