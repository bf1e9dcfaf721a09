# DeepViT-L (32 blocks) + UPerNet on ADE20K, shared out by FSDP: 512², 160k iterations of 16 images.
# Paper:   DeepViT, https://arxiv.org/abs/2103.11886 (ImageNet top-1 83.1, published).
# Start:   tools/dist_train.sh configs/upernet_deepvit-l_ade20k-fsdp.py 8
# Cost:    91.4 M parameters, 622 GFLOPs at 512×512
# Result:  not trained here; the paper has no segmentation.
_base_ = ["./upernet_deepvit-l_ade20k.py", "_base_/strategies/fsdp2.py"]
