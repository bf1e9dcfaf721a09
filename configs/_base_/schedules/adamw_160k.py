# AdamW for vision transformers on dense tasks: 160k iterations of 16 images, linear warm-up, linear
# decay. Positions, class and register tokens, norms, LayerScale and head mixes are not decayed.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            "pos_embed": dict(decay_mult=0.0),
            "relative_position_bias_table": dict(decay_mult=0.0),
            "cls_token": dict(decay_mult=0.0),
            "reg_token": dict(decay_mult=0.0),
            "ls1": dict(decay_mult=0.0),
            "ls2": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
            "pre_mix": dict(decay_mult=0.0),
            "post_mix": dict(decay_mult=0.0),
        }
    ),
)
max_iters = 160000
warmup_iters = 1500
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
train_cfg = dict(type="ResumableTrainLoop", max_iters=max_iters, val_interval=8000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
auto_scale_lr = dict(enable=False, base_batch_size=16)
