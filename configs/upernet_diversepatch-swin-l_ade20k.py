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
# Losses:  within the third stage, the deep one: all its 18 blocks have one width and grid. With
#          weights of zero, and patch_mix=None, it is the plain segmentor.
# Result:  not trained here.
_base_ = [
    "_base_/models/upernet_swin-l.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/adamw_160k.py",
    "_base_/default_runtime.py",
]
model = dict(
    type="DiverseEncoderDecoder",
    diversity=dict(
        early="stages.2.blocks.0",
        last="stages.2.blocks.17",
        cosine=1.0,
        contrastive=1.0,
        mixing=1.0,
        warmup_iters=1500,
        patch_mix=dict(patch_size=32, alpha=1.0, prob=0.5),
    ),
)
