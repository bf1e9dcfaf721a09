# A frozen ViT-Ti + a linear head on ISIC 2018: 512², 4000 iterations of 16 images.
# Paper:   ViT, https://arxiv.org/abs/2010.11929; protocol: DINOv3, https://arxiv.org/abs/2508.10104.
# Start:   tools/dist_train.sh configs/probe_vit-ti_isic2018.py 4
# Cost:    5.7 M parameters, 21 GFLOPs at 512×512
# Result:  not trained here.
_base_ = ["_base_/backbones/vit-ti.py", "_base_/tasks/probe_isic2018.py"]
model = {{_base_.under_linear}}
