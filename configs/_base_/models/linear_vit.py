# One linear layer for each token of the last block. A config adds the backbone, and its width as
# decode_head.in_channels and channels.
_base_ = "./vit.py"
model = dict(
    backbone=dict(out_indices=(-1,)),
    decode_head=dict(
        type="FCNHead",
        in_index=0,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
)
