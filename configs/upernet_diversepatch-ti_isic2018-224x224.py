# A DiversePatch ViT begun at a plain ViT-Ti + UPerNet on ISIC 2018 at 224², on a CPU.
# Paper:   Vision Transformers with Patch Diversification, https://arxiv.org/abs/2104.12753.
# Start:   python tools/train.py configs/upernet_diversepatch-ti_isic2018-224x224.py --amp bf16
# Cost:    6.4 M parameters, 4 GFLOPs at 224×224
# Result:  mean Dice 90.9, with flips 90.9, three seeds (results/isic2018-pretrained/README.md).
_base_ = ["_base_/backbones/diversepatch-ti.py", "_base_/tasks/upernet_isic2018-224x224.py"]
model = {{_base_.under_upernet}}
