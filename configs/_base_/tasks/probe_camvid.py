# Linear probing on CamVid, for a CPU: crops of 352², 4000 iterations of 8 images.
_base_ = [
    "../heads/probe.py",
    "../datasets/camvid.py",
    "../schedules/adamw_probe_4000.py",
    "../default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(352, 352)),
    backbone=dict(img_size=(352, 352)),
    decode_head=dict(num_classes=11),
    test_cfg=dict(crop_size=(352, 352), stride=(235, 235)),
)
train_cfg = dict(val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=1, save_best=None))
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
