"""DeepViT, DiversePatch ViT and plain ViT as timm classifiers, for timm's training script.

Importing this module registers ``deepvit_s``, ``diversepatch_b24``, ``vit_base_patch16`` and so on
in timm's registry: the names of :mod:`mmseg_deepvit.backbones` with underscores. The trunk is the
same class, so the trained weights load into the backbones. CaiT is in timm already. timm's own
plain ViTs have the image's size in their names (``…_patch16_224``); the plain ViTs here take
diversity losses.

Reference: timm ``models/vision_transformer.py`` (interface for training script and optimizers).
Deviations: no pretrained weights; the backbones take the place of ``features_only``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.data import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_INCEPTION_MEAN,
    IMAGENET_INCEPTION_STD,
)
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from .backbones import deepvit, diverse_patch_vit, plain_vit
from .backbones.arguments import check_choice, check_rate
from .backbones.vit import ViTTrunk

_ARCHS = {
    name.replace("-", "_"): settings
    for archs in (deepvit.ARCHS, diverse_patch_vit.ARCHS, plain_vit.ARCHS)
    for name, settings in archs.items()
}


def _normalization(name: str) -> dict[str, tuple[float, ...]]:
    """Normalisation of the images that the published weights were trained on."""
    if name.startswith(("deepvit", "vit")):
        return dict(mean=IMAGENET_INCEPTION_MEAN, std=IMAGENET_INCEPTION_STD)
    return dict(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)


default_cfgs = generate_default_cfgs(
    {
        f"{name}.untrained": dict(
            num_classes=1000,
            input_size=(3, settings.get("img_size", 224), settings.get("img_size", 224)),
            pool_size=None,
            crop_pct=0.9,
            interpolation="bicubic",
            **_normalization(name),
            first_conv="patch_embed.conv1"
            if settings.get("stem") == "conv"
            else "patch_embed.proj",
            classifier="head",
        )
        for name, settings in _ARCHS.items()
    }
)


class HeadMixingClassifier(ViTTrunk):
    """The trunk under a linear classifier of the class token, with timm's interface.

    Args:
        num_classes: Number of classes; 0 for features.
        in_chans: Channels of the image.
        global_pool: Input of the classifier: ``'token'`` (class token), ``'avg'`` (mean of the
            patch tokens), or ``''`` for all tokens.
        drop_rate: Dropout before the classifier, in [0, 1).
        proj_drop_rate: Dropout after position embedding, in MLPs and output projections, in [0, 1).
        patch_head: Whether the model has a second classifier, of pooled patch tokens, for the
            mixing loss of :mod:`mmseg_deepvit.diversity.classification`. Predictions do not use it.
        **trunk: Arguments of :class:`~mmseg_deepvit.backbones.vit.ViTTrunk`.

    Raises:
        ValueError: A value is outside its range.
        TypeError: The trunk has no argument of this name.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "token",
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        patch_head: bool = False,
        **trunk: Any,
    ) -> None:
        super().__init__(in_channels=in_chans, drop_rate=proj_drop_rate, **trunk)
        check_rate("drop_rate", drop_rate)
        self.embed_dim = self.num_features = self.head_hidden_size = self.embed_dims
        self.head_drop = nn.Dropout(drop_rate)
        self.with_patch_head = patch_head
        self.reset_classifier(num_classes, global_pool)
        self.init_weights()

    def forward(
        self, x: Tensor, measure: Callable[[HeadMixingClassifier, Tensor], Any] | None = None
    ) -> Any:
        """Classify images, or measure losses on them.

        Args:
            x: Normalised images, (B, in_chans, H, W).
            measure: Function of this model and the images, which replaces the classification. With
                it losses can use tokens inside a wrapper such as ``DistributedDataParallel``.

        Returns:
            Logits, (B, num_classes), or the result of ``measure``.
        """
        if measure is not None:
            return measure(self, x)
        return self.forward_head(self.forward_features(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify.

        Args:
            x: Tokens of ``forward_features``, (B, prefix + h·w, C).
            pre_logits: Whether to return the input of the classifier.

        Returns:
            Logits, (B, num_classes), or features, (B, C); with ``global_pool=''`` for all tokens.
        """
        if self.global_pool == "token":
            x = x[:, 0]
        elif self.global_pool == "avg":
            x = x[:, self.num_prefix_tokens :].mean(dim=1)
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifiers by new ones (none for 0 classes), and the pooling if given."""
        if global_pool is not None:
            check_choice("global_pool", global_pool, ("token", "avg", ""))
            if global_pool == "token" and self.cls_token is None:
                raise ValueError("global_pool='token' needs a class token; set with_cls_token=True")
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head: nn.Module = self._linear(num_classes) or nn.Identity()
        self.patch_head = self._linear(num_classes) if self.with_patch_head else None

    def _linear(self, num_classes: int) -> nn.Linear | None:
        """A new linear classifier in the dtype of the model; None for no classes."""
        if num_classes == 0:
            return None
        old = self.patch_embed.proj.weight
        head = nn.Linear(self.embed_dims, num_classes, device=old.device, dtype=old.dtype)
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        return head

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Set whether blocks are recomputed in the backward pass."""
        self.with_cp = enable

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimizers do not decay, in addition to biases and norms."""
        mixes = (name for name, _ in self.named_parameters() if "_mix.weight" in name)
        return {"pos_embed", "cls_token", "reg_token", *mixes}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of layers, for timm's layer-wise decay of the learning rate."""
        return dict(
            stem=r"^cls_token|reg_token|pos_embed|patch_embed|norm_pre",
            blocks=[(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        )


def _create(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    if kwargs.pop("features_only", False):
        raise ValueError(
            f"{variant} has no features_only in timm; build the backbone from mmseg's registry, "
            "with out_indices"
        )
    settings = {**_ARCHS[variant], **kwargs}
    return build_model_with_cfg(HeadMixingClassifier, variant, pretrained, **settings)


def _register(variant: str) -> None:
    entry: Any = partial(_create, variant)
    entry.__name__, entry.__module__ = variant, __name__
    register_model(entry)


for _variant in _ARCHS:
    _register(_variant)
