# Swin-L with the diversity losses + UPerNet on ADE20K: our variant of the first published stage.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/upernet_diverse-swin-l_ade20k.py 8 \
#              --cfg-options model.backbone.with_cp=True
# Cost:    234.1 M parameters, 839 GFLOPs at 512×512
# Result:  not trained here; the paper's numbers belong to the published recipe.
_base_ = ["./upernet_diversepatch-swin-l_ade20k.py", "_base_/diversity/swin-l.py"]
model = dict(type="DiverseEncoderDecoder", diversity={{_base_.diversity}})
