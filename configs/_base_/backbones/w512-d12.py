# The published protocol of ISIC 2018 from scratch: 8×8 patches of 256² images, width 512, 12
# blocks, 8 heads, Dice and cross-entropy. A config adds the backbone's type. All keep ImageNet's
# normalisation, with which the recorded results came out.
_base_ = "../heads/upernet_vit.py"
embed_dims = 512
loss_decode = [
    dict(type="CrossEntropyLoss", use_sigmoid=False, loss_name="loss_ce"),
    dict(type="DiceLoss", use_sigmoid=False, loss_name="loss_dice"),
]
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(
        arch=dict(embed_dims=embed_dims, num_layers=12, num_heads=8),
        img_size=(256, 256),
        patch_size=8,
        out_indices=(2, 5, 8, 11),
    ),
    neck=dict(embed_dim=embed_dims, rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(
        in_channels=[embed_dims] * 4, channels=256, num_classes=2, loss_decode=loss_decode
    ),
    auxiliary_head=dict(in_channels=embed_dims, num_classes=2),
    test_cfg=dict(_delete_=True, mode="whole"),
)
