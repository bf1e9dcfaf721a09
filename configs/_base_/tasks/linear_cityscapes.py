# A linear head on Cityscapes: crops of 768², 80k iterations of 16 images.
_base_ = [
    "../heads/linear.py",
    "../datasets/cityscapes.py",
    "../schedules/adamw_80k.py",
    "../default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(768, 768)),
    backbone=dict(img_size=(768, 768)),
    decode_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(768, 768), stride=(512, 512)),
)
