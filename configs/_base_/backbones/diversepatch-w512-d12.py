# DiversePatch ViT, width 512, 12 blocks, trained with the diversity losses.
_base_ = ["./w512-d12.py", "../diversity/published.py"]
diverse = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DiversePatchViT"),
)
under_linear = diverse
under_upernet = diverse
