# As upernet_vit-512.py, under a linear head.
_base_ = "../heads/linear.py"
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
    ),
    decode_head=dict(
        in_channels=embed_dims, channels=embed_dims, num_classes=2, loss_decode=loss_decode
    ),
    test_cfg=dict(_delete_=True, mode="whole"),
)
