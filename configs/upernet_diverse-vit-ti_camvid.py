# A pretrained plain ViT-Ti with the diversity losses + UPerNet on CamVid: 352², on a CPU.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diverse-vit-ti_camvid.py --amp bf16
# Cost:    6.7 M parameters, 12 GFLOPs at 352×352
# Result:  mIoU 69.9, three seeds (results/camvid/README.md).
_base_ = ["./upernet_vit-ti_camvid.py", "_base_/diversity/short.py"]
model = dict(type="DiverseEncoderDecoder", diversity={{_base_.diversity}})
