# CaiT, width 512, 12 blocks.
_base_ = "./w512-d12.py"
backbone = dict(type="CaiT")
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
