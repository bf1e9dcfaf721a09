# A DeepViT begun at a plain ViT-Ti/16: its mixes begin at the identity, and have neither norm nor
# bias. Without a norm, a bias adds to all N probabilities, and drowns the other gradients.
# With BatchNorm of the maps: upernet_deepvit-ti-bn_isic2018-224x224.py.
_base_ = "./vit-ti.py"
backbone = dict(type="DeepViT", mix_norm_cfg=None, mix_bias=False, init_cfg=dict(warm_start=True))
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
