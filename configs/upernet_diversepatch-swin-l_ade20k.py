# Swin-L + UPerNet on ADE20K, first of the paper's two stages: 512², 160k iterations of 16 images
# (8 GPUs × 2), drop path 0.3. The second: upernet_diversepatch-swin-l-stage2_ade20k.py.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753:
#          53.1 mIoU, 54.4 multi-scale, after both stages (published).
# Start:   tools/dist_train.sh configs/upernet_diversepatch-swin-l_ade20k.py 8 --cfg-options \
#              model.backbone.with_cp=True
# Weights: convert a Swin-L in the names of the Swin repository, then give it:
#          python tools/convert_checkpoint.py swin_large_patch4_window12_384_22k.pth swin_l.pth
#          --cfg-options model.backbone.init_cfg.type=Pretrained \
#              model.backbone.init_cfg.checkpoint=swin_l.pth
#          The paper's whole segmentors, once converted, are for tools/test.py.
# Cost:    234.1 M parameters, 839 GFLOPs at 512×512
# Result:  not trained here; mIoU 53.1, multi-scale 54.4, after both stages (published).
_base_ = [
    "_base_/models/upernet_diversepatch-swin-l.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
