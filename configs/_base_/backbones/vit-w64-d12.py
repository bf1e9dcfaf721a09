# Plain ViT, width 64, 12 blocks.
_base_ = "./w64-d12.py"
backbone = dict(type="PlainViT")
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
