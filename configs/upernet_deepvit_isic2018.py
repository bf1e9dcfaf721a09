# DeepViT-S + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 82.3, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit_isic2018.py 4
# Cost:    59.3 M parameters, 522 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-s.py", "_base_/tasks/upernet_isic2018.py"]
model = {{_base_.under_upernet}}
