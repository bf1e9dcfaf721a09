# DeepViT-S + UPerNet on Cityscapes: 768², 80k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 82.3, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit_cityscapes.py 8
# Cost:    59.8 M parameters, 1254 GFLOPs at 768×768
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-s.py", "_base_/tasks/upernet_cityscapes.py"]
model = {{_base_.under_upernet}}
