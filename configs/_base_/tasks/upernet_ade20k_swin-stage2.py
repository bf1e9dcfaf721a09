# Second stage of upernet_ade20k_swin.py: on from 160k iterations to 200k at drop path 0.5. The
# learning rate goes on as if its decay had led to 200k: a fifth of the first.
# The published code resumes with 200k iterations in the config. A run resumed here would keep the
# first stage's schedule, which has ended at zero. So this one counts from 0 to 40k, with fresh
# moments of AdamW and a short warm-up.
_base_ = "./upernet_ade20k_swin.py"
model = dict(backbone=dict(drop_path_rate=0.5))
max_iters = 40000
optim_wrapper = dict(optimizer=dict(lr=6e-5 * (200000 - 160000) / 200000))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-2, by_epoch=False, begin=0, end=100),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=100, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters)
