# Linear probing on Cityscapes: crops of 768², 40k iterations of 16 images.
_base_ = [
    "../heads/probe.py",
    "../datasets/cityscapes.py",
    "../schedules/adamw_probe_40k.py",
    "../default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(768, 768)),
    backbone=dict(img_size=(768, 768)),
    decode_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(768, 768), stride=(512, 512)),
)
default_hooks = dict(checkpoint=dict(interval=5000))
