# A linear head on CamVid from pretrained weights, for a CPU: crops of 352², 1600 iterations of 8
# images.
_base_ = [
    "../heads/linear.py",
    "../datasets/camvid.py",
    "../schedules/adamw_layer-decay_1600.py",
    "../default_runtime.py",
]
model = dict(
    data_preprocessor=dict(size=(352, 352)),
    backbone=dict(img_size=(352, 352)),
    decode_head=dict(num_classes=11, loss_decode=dict(class_weight={{_base_.class_weight}})),
    test_cfg=dict(crop_size=(352, 352), stride=(235, 235)),
)
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=1, save_best=None))
randomness = dict(seed=0)
