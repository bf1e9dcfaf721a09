# DiversePatch-B24: diversepatch-b.py with 24 blocks.
_base_ = "./diversepatch-b.py"
backbone = dict(arch="diversepatch-b24")
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=dict(backbone, out_indices=(5, 11, 17, 23)))
