# Swin-L with the diversity losses + UPerNet on Cityscapes: our variant of the published recipe.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diverse-swin-l_cityscapes-1025x1025.py 4 \
#              --cfg-options model.backbone.with_cp=True
# Cost:    233.9 M parameters, 3343 GFLOPs at 1025×1025
# Result:  not trained here; the paper's numbers belong to the published recipe.
_base_ = ["./upernet_diversepatch-swin-l_cityscapes-1025x1025.py", "_base_/diversity/swin-l.py"]
model = dict(type="DiverseEncoderDecoder", diversity={{_base_.diversity}})
