# UPerNet on four blocks of a vision transformer. Tests slide windows of the training crop, to which
# positions belong; map_tokens keeps mixed attention maps right at any other size.
_base_ = "./upernet.py"
norm_cfg = {{_base_.norm_cfg}}
model = dict(
    type="SlidingEncoderDecoder",
    backbone=dict(img_size=(512, 512), map_tokens="img_size", drop_path_rate=0.1),
    neck=dict(type="Feature2Pyramid", rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341), window_batch_size=4),
)
