# DiversePatch-B24 (24 blocks) + a linear head on ADE20K: 512², 160k iterations of 16 images.
# With the diversity losses and patches mixed between images.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   tools/dist_train.sh configs/linear_diversepatch-b24_ade20k.py 8  # 2 images on each GPU
# Weights: as configs/upernet_diversepatch-b24_ade20k.py says.
# Result:  not trained here; the paper's segmentation is Swin-L.
_base_ = "./linear_diversepatch-b_ade20k.py"
model = dict(backbone=dict(arch="diversepatch-b24"))
