# CaiT, width 64, 12 blocks.
# LayerScale as the paper sets it: 0.1 up to 18 blocks, 1e-5 for 24, 1e-6 for more.
_base_ = "./w64-d12.py"
backbone = dict(type="CaiT", layer_scale_init=0.1)
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
