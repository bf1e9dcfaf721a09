# DiversePatch-B24 (24 blocks) + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-b24_isic2018.py 4
# Weights: as configs/upernet_diversepatch-b24_ade20k.py says.
# Cost:    212.6 M parameters, 905 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/diversepatch-b24.py",
    "_base_/datasets/isic2018.py",
    "_base_/schedules/adamw_20k.py",
    "_base_/default_runtime.py",
]
model = dict(
    decode_head=dict(num_classes=2),
    auxiliary_head=dict(num_classes=2),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="per_image/Dice"))
