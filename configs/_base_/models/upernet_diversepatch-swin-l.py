# mmseg's Swin-L under UPerNet, as the Swin and DiversePatch papers have it (window 12, pretrained
# at 384²), with the diversity losses within the third stage, the deep one: all its 18 blocks have
# one width and grid. With weights of zero, and patch_mix=None, it is the plain segmentor.
_base_ = "./upernet.py"
model = dict(
    type="DiverseEncoderDecoder",
    diversity=dict(
        early="stages.2.blocks.0",
        last="stages.2.blocks.17",
        cosine=1.0,
        contrastive=1.0,
        mixing=1.0,
        warmup_iters=1500,
        patch_mix=dict(patch_size=32, alpha=1.0, prob=0.5),
    ),
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
