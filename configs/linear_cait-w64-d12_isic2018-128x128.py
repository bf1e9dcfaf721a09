# A narrow CaiT + a linear head on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   CaiT, https://arxiv.org/abs/2103.17239.
# Start:   python tools/train.py configs/linear_cait-w64-d12_isic2018-128x128.py
# Cost:    0.7 M parameters, 0.1 GFLOPs at 128×128
# Result:  results/depth/README.md, at three depths.
_base_ = [
    "_base_/models/linear_vit-64.py",
    "_base_/datasets/isic2018_128x128.py",
    "_base_/schedules/adamw_1500.py",
    "_base_/default_runtime.py",
]
model = dict(
    # LayerScale as the paper sets it: 0.1 up to 18 blocks, 1e-5 for 24, 1e-6 for more.
    backbone=dict(type="CaiT", layer_scale_init=0.1),
)
default_hooks = dict(checkpoint=dict(interval=1500, save_best=None))
randomness = dict(seed=0)
