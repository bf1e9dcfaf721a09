# DeepViT-L (32 blocks) + UPerNet on ISIC 2018: 512², 20k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 83.1, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit-l_isic2018.py 4
# Weights: as configs/upernet_deepvit-l_ade20k.py says.
# Cost:    91.3 M parameters, 620 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = [
    "_base_/backbones/deepvit-l.py",
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
