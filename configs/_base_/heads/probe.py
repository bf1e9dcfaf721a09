# Linear probing: a frozen backbone; a norm and one linear layer for each token of its last block.
# `under_linear` of a backbone file adds the backbone and its width. Tests slide windows, as
# upernet_vit.py says.
# The last four blocks: --cfg-options model.backbone.out_indices="(-4,-3,-2,-1)" \
#                           model.decode_head.in_index="(0,1,2,3)"
# No norm: --cfg-options model.decode_head.norm_cfg=None
# A backbone that mixes heads keeps its function with the number of tokens of its own training (197
# at 224²): --cfg-options model.backbone.map_tokens=197
_base_ = "./segmentor.py"
model = dict(
    type="SlidingEncoderDecoder",
    backbone=dict(
        img_size=(512, 512), map_tokens="img_size", frozen_stages="all", out_indices=(-1,)
    ),
    decode_head=dict(
        type="LinearProbeHead",
        in_index=0,
        norm_cfg={{_base_.norm_cfg}},
        dropout_ratio=0.1,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341), window_batch_size=4),
)
