# mmseg's Swin-L, as the Swin and DiversePatch papers have it (window 12, pretrained at 384²).
# Weights: convert a Swin-L in the names of the Swin repository, then give it:
#          python tools/convert_checkpoint.py swin_large_patch4_window12_384_22k.pth swin_l.pth
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=swin_l.pth
#          The DiversePatch paper trained its Swin-L on ImageNet with the diversity losses. Its
#          published segmentors are for tools/test.py.
under_upernet = dict(
    backbone=dict(
        type="SwinTransformer",
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
