# A DeepViT begun at DINOv2's ViT-S/14 + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886; DINOv2, https://arxiv.org/abs/2304.07193.
# Start:   tools/dist_train.sh configs/upernet_deepvit-dinov2-s_ade20k.py 8
# Cost:    53.9 M parameters, 676 GFLOPs at 512×512
# Result:  not trained here.
_base_ = ["_base_/backbones/deepvit-dinov2-s.py", "_base_/tasks/upernet_ade20k.py"]
model = {{_base_.under_upernet}}
custom_hooks = [dict(type="MapNormCalibrationHook")]
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={"mix_norm": dict(lr_mult=0.01, decay_mult=0.0)})
)
