# For narrow models on CPUs: minutes. (Learning rates of the long schedules are for wide models.)
_base_ = "./adamw_20k.py"
max_iters = 1500
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=200),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=200, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
auto_scale_lr = dict(base_batch_size=8)
