# DiversePatch-B24 (24 blocks) under a linear head.
_base_ = "./linear_diversepatch-b.py"
model = dict(backbone=dict(arch="diversepatch-b24"))
