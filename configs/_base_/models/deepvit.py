# DeepViT-S and what goes in; a head comes on top. The maps' BatchNorm belongs to one number of
# tokens, so tests slide windows of the training crop over the image.
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
        drop_path_rate=0.1,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
