# UPerNet on CamVid from pretrained weights, for a CPU: crops of 352², 1600 iterations of 8 images.
_base_ = [
    "../heads/upernet_vit.py",
    "../datasets/camvid.py",
    "../schedules/adamw_layer-decay_1600.py",
    "../default_runtime.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
loss_decode = dict(class_weight={{_base_.class_weight}})
model = dict(
    data_preprocessor=dict(size=(352, 352)),
    backbone=dict(img_size=(352, 352)),
    neck=dict(norm_cfg=norm_cfg),
    decode_head=dict(channels=64, num_classes=11, norm_cfg=norm_cfg, loss_decode=loss_decode),
    auxiliary_head=dict(channels=64, num_classes=11, norm_cfg=norm_cfg, loss_decode=loss_decode),
    test_cfg=dict(crop_size=(352, 352), stride=(235, 235)),
)
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=1, save_best=None))
randomness = dict(seed=0)
