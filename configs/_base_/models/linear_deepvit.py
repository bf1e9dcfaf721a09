# DeepViT-S under one linear layer for each token of the last block.
_base_ = "./deepvit.py"
embed_dims = {{_base_.embed_dims}}
model = dict(
    backbone=dict(out_indices=(-1,)),
    decode_head=dict(
        type="FCNHead",
        in_channels=embed_dims,
        in_index=0,
        channels=embed_dims,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
)
