# DeepViT-32B (32 blocks) + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 80.9, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit-32b_isic2018.py 4
# Cost:    79.8 M parameters, 591 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-32b.py", "_base_/tasks/upernet_isic2018.py"]
model = {{_base_.under_upernet}}
