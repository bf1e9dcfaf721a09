# UPerNet on folders of anyone's images, on one device (for several: norm_cfg of type "SyncBN").
# tools/new_config.py writes configs over it.
_base_ = ["../heads/upernet_vit.py", "../datasets/folders.py", "../default_runtime.py"]
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    neck=dict(norm_cfg=norm_cfg),
    decode_head=dict(channels=64, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, norm_cfg=norm_cfg),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
