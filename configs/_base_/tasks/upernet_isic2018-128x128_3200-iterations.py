# upernet_isic2018-128x128.py for 3200 iterations, with a moving average of the weights.
_base_ = "./upernet_isic2018-128x128.py"
max_iters = 3200
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=200),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=200, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=1600)
custom_hooks = [dict(type="EMAHook", momentum=0.003)]
default_hooks = dict(checkpoint=dict(interval=1600, save_best="per_image/Dice"))
