# Linear probing as DINOv3's code does it on ADE20K: AdamW at 1e-3, 40k iterations of 16 images,
# linear warm-up, then half a cosine. The constructor leaves frozen parameters out.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="BlockDecayOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-3),
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
max_iters = 40000
warmup_iters = 1500
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
train_cfg = dict(type="ResumableTrainLoop", max_iters=max_iters, val_interval=5000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
auto_scale_lr = dict(enable=False, base_batch_size=16)
