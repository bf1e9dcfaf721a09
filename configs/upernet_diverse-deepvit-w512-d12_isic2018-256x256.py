# DeepViT with the diversity losses + UPerNet on ISIC 2018, from scratch: 256², 400 epochs.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diverse-deepvit-w512-d12_isic2018-256x256.py
# Cost:    43.0 M parameters, 122 GFLOPs at 256×256
# Result:  not trained here.
_base_ = ["./upernet_deepvit-w512-d12_isic2018-256x256.py", "_base_/diversity/published.py"]
model = dict(type="DiverseEncoderDecoder", diversity={{_base_.diversity}})
