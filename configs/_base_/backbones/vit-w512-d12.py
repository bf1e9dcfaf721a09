# Plain ViT, width 512, 12 blocks; mlp_ratio 3, as in the DeepViT that it is compared with.
_base_ = "./w512-d12.py"
backbone = dict(type="PlainViT", arch=dict(mlp_ratio=3))
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
