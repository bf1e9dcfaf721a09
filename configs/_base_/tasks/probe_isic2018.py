# Linear probing on ISIC 2018: 512², 4000 iterations of 16 images.
_base_ = [
    "../heads/probe.py",
    "../datasets/isic2018.py",
    "../schedules/adamw_probe_4000.py",
    "../default_runtime.py",
]
model = dict(
    decode_head=dict(num_classes=2),
    test_cfg=dict(_delete_=True, mode="whole"),
)
default_hooks = dict(checkpoint=dict(interval=1000, save_best="per_image/Dice"))
