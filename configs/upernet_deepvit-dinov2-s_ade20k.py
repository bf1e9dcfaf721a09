# Re-attention on top of DINOv2: ViT-S/14 with registers becomes a DeepViT whose mixes begin at the
# identity, under UPerNet on ADE20K: 512², 160k iterations of 16 images (8 GPUs × 2).
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886; DINOv2, https://arxiv.org/abs/2304.07193;
#          Vision Transformers Need Registers, https://arxiv.org/abs/2309.16588.
# Start:   tools/dist_train.sh configs/upernet_deepvit-dinov2-s_ade20k.py 8
#          Without a norm of the maps: --cfg-options model.backbone.mix_norm_cfg=None
# Weights: timm's; any other plain transformer of the same sizes loads as well.
# Note:    the norm's factors begin near 1/N and are learned slowly; the hook sets them, so that
#          training begins at the pretrained function.
# Cost:    53.9 M parameters, 676 GFLOPs at 512×512
# Result:  not trained here.
_base_ = [
    "_base_/heads/upernet_vit.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
embed_dims = 384
model = dict(
    backbone=dict(
        type="DeepViT",
        arch=dict(embed_dims=embed_dims, num_layers=12, num_heads=6, mlp_ratio=4),
        patch_size=14,
        img_size=518,
        num_register_tokens=4,
        interpolate_antialias=True,
        layer_scale_init=1e-5,
        mix_norm_cfg={{_base_.norm_cfg}},
        out_indices=(2, 5, 8, 11),
        init_cfg=dict(
            type="Pretrained",
            checkpoint="timm://vit_small_patch14_reg4_dinov2.lvd142m",
            warm_start=True,
        ),
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4),
    auxiliary_head=dict(in_channels=embed_dims),
)
custom_hooks = [dict(type="MapNormCalibrationHook")]
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={"mix_norm": dict(lr_mult=0.01, decay_mult=0.0)})
)
