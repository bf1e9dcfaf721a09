"""Describe a segmentor and its config by the metadata of an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mmseg.models import BaseSegmentor
from timm.layers.helpers import to_2tuple

from ..inference.exported import Metadata
from ..inference.regions import RegionRules
from .network import Normalize
from .preprocessing import read_preprocessing


def describe(model: BaseSegmentor, input_size: tuple[int, int] | None) -> Metadata:
    """Collect the metadata of a segmentor and its config.

    Args:
        model: Segmentor of :func:`~mmseg_deepvit.inference.load_segmentor`.
        input_size: Height and width of the file's input; None for any.

    Raises:
        UserError: Metadata cannot describe how the config prepares images.
    """
    preparation = read_preprocessing(model)
    normalize = Normalize(model)
    classes = list(model.dataset_meta["classes"])
    palette = model.dataset_meta["palette"]
    patch = getattr(model.backbone, "patch_size", None)
    single = model.out_channels == 1
    cfg = model.test_cfg or {}
    rules = RegionRules.of(cfg)
    order = "RGB" if preparation.loading is None else "bands"
    return Metadata(
        classes=classes,
        palette=[[int(value) for value in colour] for colour in palette],
        input_size=None if input_size is None else list(input_size),
        patch_size=None if patch is None else list(to_2tuple(patch)),
        mean=normalize.mean.flatten().tolist(),
        std=normalize.std.flatten().tolist(),
        align_corners=bool(model.align_corners),
        threshold=float(model.decode_head.threshold) if single else None,
        resize=preparation.resize,
        windows=_windows(cfg) if cfg.get("mode") == "slide" else None,
        padding=preparation.padding,
        regions=asdict(rules) if rules else None,
        loading=preparation.loading,
        input_order=order,
        model_order="BGR" if normalize.reverses else order,
    )


def _windows(test_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of slide inference, and its weights where older readers must not take it for plain."""
    windows: dict[str, Any] = {
        name: list(to_2tuple(test_cfg[name])) for name in ("crop_size", "stride")
    }
    weights = test_cfg.get("window_weights", "constant")
    return windows if weights == "constant" else {**windows, "weights": weights}
