# DeepViT-S under one linear layer for each token.
norm_cfg = dict(type="SyncBN", requires_grad=True)
embed_dims = 396
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type="DeepViT",
        arch="deepvit-s",
        img_size=(512, 512),
        mix_norm_cfg=norm_cfg,
        out_indices=(-1,),
        drop_path_rate=0.1,
    ),
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
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
