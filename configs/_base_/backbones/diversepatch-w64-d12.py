# DiversePatch ViT, width 64, 12 blocks, trained with the diversity losses.
_base_ = ["./w64-d12.py", "../diversity/short.py"]
diverse = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DiversePatchViT"),
)
under_linear = diverse
under_upernet = diverse
