# DeepViT-S + UPerNet on ADE20K: 512², 160k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 82.3, published).
# Start:   python tools/train.py configs/upernet_deepvit_ade20k.py
#          tools/dist_train.sh configs/upernet_deepvit_ade20k.py 8
#          One GPU: --cfg-options train_dataloader.batch_size=16
# Cost:    59.4 M parameters, 524 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["_base_/backbones/deepvit-s.py", "_base_/tasks/upernet_ade20k.py"]
model = {{_base_.under_upernet}}
