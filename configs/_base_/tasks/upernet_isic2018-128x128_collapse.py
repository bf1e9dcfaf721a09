# upernet_isic2018-128x128.py, measuring how alike maps and patches become in training.
_base_ = "./upernet_isic2018-128x128.py"
custom_hooks = [dict(type="CollapseHook", interval=250)]
default_hooks = dict(checkpoint=dict(save_best="per_image/Dice"))
