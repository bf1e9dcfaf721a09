# DiversePatch-B24 (24 blocks) under UPerNet.
_base_ = "./diversepatch-b.py"
model = dict(backbone=dict(arch="diversepatch-b24", out_indices=(5, 11, 17, 23)))
