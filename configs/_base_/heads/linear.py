# One linear layer for each token of a vision transformer's last block. `under_linear` of a backbone
# file adds the backbone and its width. Tests slide windows, as upernet_vit.py says.
# probe.py freezes the backbone.
_base_ = "./segmentor.py"
model = dict(
    type="SlidingEncoderDecoder",
    backbone=dict(
        img_size=(512, 512), map_tokens="img_size", drop_path_rate=0.1, out_indices=(-1,)
    ),
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
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341), window_batch_size=4),
)
