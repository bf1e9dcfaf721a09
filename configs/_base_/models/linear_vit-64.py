# linear_vit-512.py an eighth as wide, on 16×16 patches of 128² images: what depth does, on a CPU.
_base_ = "./linear_vit-512.py"
embed_dims = 64
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
        patch_size=16,
        interpolate_antialias=True,
        drop_path_rate=0.05,
    ),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims, loss_decode=loss_decode),
)
