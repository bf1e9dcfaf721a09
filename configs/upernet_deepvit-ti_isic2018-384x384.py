# A DeepViT begun at a plain ViT-Ti + UPerNet on ISIC 2018 at 384², on a CPU.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886.
# Start:   python tools/train.py configs/upernet_deepvit-ti_isic2018-384x384.py --amp bf16
# Cost:    6.5 M parameters, 13 GFLOPs at 384×384
# Result:  mean Dice 91.3, with flips 91.3, one seed, mixes with a bias
#          (results/isic2018-pretrained/README.md).
_base_ = ["_base_/backbones/deepvit-ti.py", "_base_/tasks/upernet_isic2018-384x384.py"]
model = {{_base_.under_upernet}}
