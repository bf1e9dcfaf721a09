# DeepViT-32B (32 blocks) + UPerNet on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 80.9, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit-32b_cityscapes.py 8
# Cost:    80.3 M parameters, 1502 GFLOPs at 768×768
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-32b.py", "_base_/tasks/upernet_cityscapes.py"]
model = {{_base_.under_upernet}}
