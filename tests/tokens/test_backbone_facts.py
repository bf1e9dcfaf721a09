from mmseg_deepvit.backbones.cait import CaiT
from mmseg_deepvit.backbones.deepvit import DeepViT
from mmseg_deepvit.tokens.backbone_facts import count_norm_tokens

SMALL = dict(embed_dims=16, num_layers=3, num_heads=2, img_size=32, patch_size=8)


def test_tokens_that_a_batch_norm_belongs_to():
    """Those of the crop, whatever size the positions were made for."""
    model = DeepViT(dict(), **SMALL, num_register_tokens=2)
    assert count_norm_tokens(model, (32, 32)) == 3 + 16
    assert count_norm_tokens(model, (33, 64)) == 3 + 5 * 8
    assert count_norm_tokens(DeepViT(dict(), **SMALL, num_mixing_layers=0), (32, 32)) is None
    assert count_norm_tokens(CaiT(dict(), **SMALL), (32, 32)) is None
