# DeepViT, width 512, 12 blocks. It takes ImageNet's normalisation, as all that train from scratch;
# published DeepViTs take images from -1 to 1.
_base_ = "./w512-d12.py"
backbone = dict(type="DeepViT", mix_norm_cfg=dict(type="SyncBN", requires_grad=True))
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
