# DiversePatch-B (12 blocks) under a linear head, with the diversity losses.
_base_ = ["../heads/linear.py", "../diversity/published.py"]
embed_dims = 768
model = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DiversePatchViT", arch="diversepatch-b"),
    decode_head=dict(in_channels=embed_dims, channels=embed_dims),
)
