# DiversePatch-B (12 blocks) + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b_ade20k.py 8
# Cost:    127.8 M parameters, 687 GFLOPs at 512×512
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = ["_base_/backbones/diversepatch-b.py", "_base_/tasks/upernet_ade20k.py"]
model = {{_base_.under_upernet}}
