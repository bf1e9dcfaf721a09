# A DeepViT begun at a plain ViT-Ti/16: its mixes begin at the identity and have no norm.
# With BatchNorm: --cfg-options model.backbone.mix_norm_cfg.type=SyncBN \
#                     custom_hooks.0.type=MapNormCalibrationHook
_base_ = "./vit-ti.py"
backbone = dict(type="DeepViT", mix_norm_cfg=None, init_cfg=dict(warm_start=True))
under_linear = dict(backbone=backbone)
under_upernet = dict(backbone=backbone)
