# Swin-L + UPerNet on ADE20K, first of the published recipe's two stages: plain fine-tuning, 512²,
# 160k iterations of 16 images (8 GPUs × 2), drop path 0.3. The second is
# upernet_diversepatch-swin-l-stage2_ade20k.py.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diversepatch-swin-l_ade20k.py 8 --cfg-options \
#              model.backbone.with_cp=True
# Weights: convert a Swin-L in the names of the Swin repository, then give it:
#          python tools/convert_checkpoint.py swin_large_patch4_window12_384_22k.pth swin_l.pth
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=swin_l.pth
#          The paper trained its Swin-L on ImageNet with the diversity losses. Its whole segmentors
#          are for tools/test.py.
# Note:    the published code adds no diversity loss in this training; with them:
#          upernet_diverse-swin-l_ade20k.py. All its values are here (scale (2048, 1024) in
#          training, (2048, 512) in tests, AdamW, schedule, heads, decay); none differs on purpose.
# Cost:    234.0 M parameters, 839 GFLOPs at 512×512
# Result:  not trained here; mIoU 53.1, multi-scale 54.4, after both stages (published).
_base_ = [
    "_base_/backbones/swin-l.py",
    "_base_/datasets/ade20k_2048x1024.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
