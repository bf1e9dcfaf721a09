# UPerNet on four blocks of a vision transformer. A config adds the backbone, its out_indices, and
# its width as neck.embed_dim and the heads' in_channels. Tests slide windows of the training crop:
# positions, and DeepViT's BatchNorm of the maps, belong to it.
_base_ = "./upernet.py"
norm_cfg = {{_base_.norm_cfg}}
model = dict(
    type="SlidingEncoderDecoder",
    backbone=dict(img_size=(512, 512), drop_path_rate=0.1),
    neck=dict(type="Feature2Pyramid", rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341), window_batch_size=4),
)
