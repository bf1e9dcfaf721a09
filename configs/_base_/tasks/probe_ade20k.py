# Linear probing on ADE20K: 512², 40k iterations of 16 images, DINOv3's protocol.
_base_ = [
    "../heads/probe.py",
    "../datasets/ade20k.py",
    "../schedules/adamw_probe_40k.py",
    "../default_runtime.py",
]
default_hooks = dict(checkpoint=dict(interval=5000))
