# As adamw_probe_40k.py, for a data set of some hundred or thousand images.
_base_ = "./adamw_probe_40k.py"
max_iters = 4000
warmup_iters = 150
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
