# DeepViT-32B (32 blocks) + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 80.9, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit-32b_ade20k.py 8
# Cost:    79.9 M parameters, 593 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-32b.py", "_base_/tasks/upernet_ade20k.py"]
model = {{_base_.under_upernet}}
