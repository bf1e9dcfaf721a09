# upernet_vit-512.py an eighth as wide, on 128² images: the protocol for a CPU.
_base_ = "./w512-d12.py"
embed_dims = 64
norm_cfg = dict(type="BN", requires_grad=True)
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    # Of the lesion alone: mmseg's ignore_index names a class to leave out, not a label.
    dict(type="DiceLoss", use_sigmoid=False, ignore_index=0, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        arch=dict(embed_dims=embed_dims, mlp_ratio=4),
        img_size=(128, 128),
        drop_path_rate=0.05,
    ),
    neck=dict(embed_dim=embed_dims, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[embed_dims] * 4, channels=32, norm_cfg=norm_cfg, loss_decode=loss_decode
    ),
    auxiliary_head=dict(in_channels=embed_dims, channels=32, norm_cfg=norm_cfg),
)
