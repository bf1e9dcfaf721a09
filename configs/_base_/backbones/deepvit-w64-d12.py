# DeepViT, width 64, 12 blocks. It takes ImageNet's normalisation, as all that train from scratch;
# published DeepViTs take images from -1 to 1.
_base_ = "./w64-d12.py"
backbone = dict(type="DeepViT", mix_norm_cfg=dict(type="BN"))
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
