# mmseg's Swin-L under UPerNet, as the Swin and DiversePatch papers have it (window 12, pretrained
# at 384²).
_base_ = "../heads/upernet.py"
model = dict(
    type="SlidingEncoderDecoder",
    backbone=dict(
        type="SwinTransformer",
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        drop_path_rate=0.3,
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
    test_cfg=dict(mode="whole"),
)
