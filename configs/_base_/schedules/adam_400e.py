# The published protocol of ISIC 2018 from scratch: Adam at 1e-4, 400 epochs of the 2594 Training
# images, 4 at a time (259,400 iterations; 400 epochs of another number of images are
# --cfg-options train_cfg.max_iters=100*IMAGES).
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4))
train_cfg = dict(type="ResumableTrainLoop", max_iters=259400, val_interval=6485)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
auto_scale_lr = dict(enable=False, base_batch_size=4)
