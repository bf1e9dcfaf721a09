# CaiT-M48 + UPerNet on ADE20K, shared out by FSDP: 512², 160k iterations of 16 images.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   tools/dist_train.sh configs/upernet_cait-m48_ade20k-fsdp.py 8 --amp bf16 --cfg-options \
#              model.backbone.with_cp=True
# Cost:    382.9 M parameters, 1369 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/cait-m48.py",
    "_base_/tasks/upernet_ade20k.py",
    "_base_/strategies/fsdp2.py",
]
model = {{_base_.under_upernet}}
