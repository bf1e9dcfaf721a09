# DiversePatch-B (12 blocks) under UPerNet, with the diversity losses.
_base_ = ["../heads/upernet_vit.py", "../diversity/published.py"]
embed_dims = 768
model = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DiversePatchViT", arch="diversepatch-b", out_indices=(2, 5, 8, 11)),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
