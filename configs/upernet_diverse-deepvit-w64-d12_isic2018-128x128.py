# A narrow DeepViT with the diversity losses + UPerNet on ISIC 2018 at 128², from scratch, on a CPU.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diverse-deepvit-w64-d12_isic2018-128x128.py
# Cost:    0.8 M parameters, 0.7 GFLOPs at 128×128
# Result:  results/isic2018-steps/README.md.
_base_ = ["./upernet_deepvit-w64-d12_isic2018-128x128.py", "_base_/diversity/short.py"]
model = dict(type="DiverseEncoderDecoder", diversity={{_base_.diversity}})
