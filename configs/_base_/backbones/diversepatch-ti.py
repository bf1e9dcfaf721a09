# A DiversePatch ViT begun at a plain ViT-Ti/16: its mixes begin at the identity; it is trained with
# the diversity losses.
_base_ = ["./vit-ti.py", "../diversity/short.py"]
diverse = dict(
    type="DiverseEncoderDecoder",
    diversity={{_base_.diversity}},
    backbone=dict(type="DiversePatchViT", init_cfg=dict(warm_start=True)),
)
under_linear = diverse
under_upernet = diverse
