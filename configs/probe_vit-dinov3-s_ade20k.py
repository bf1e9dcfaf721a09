# A frozen DINOv3 ViT-S/16 + a linear head on ADE20K: 512², 40k iterations of 16 images.
# Paper:   ViT, https://arxiv.org/abs/2010.11929; DINOv3, https://arxiv.org/abs/2508.10104.
# Start:   tools/dist_train.sh configs/probe_vit-dinov3-s_ade20k.py 8
# Cost:    21.6 M parameters, 64 GFLOPs at 512×512
# Result:  not trained here; mIoU 47.0 (published).
_base_ = ["_base_/backbones/vit-dinov3-s.py", "_base_/tasks/probe_ade20k.py"]
model = {{_base_.under_linear}}
