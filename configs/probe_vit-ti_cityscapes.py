# A frozen ViT-Ti + a linear head on Cityscapes: 768², 40k iterations of 16 images.
# Paper:   ViT, https://arxiv.org/abs/2010.11929; protocol: DINOv3, https://arxiv.org/abs/2508.10104.
# Start:   tools/dist_train.sh configs/probe_vit-ti_cityscapes.py 8
# Cost:    5.9 M parameters, 74 GFLOPs at 768×768
# Result:  not trained here.
_base_ = ["_base_/backbones/vit-ti.py", "_base_/tasks/probe_cityscapes.py"]
model = {{_base_.under_linear}}
