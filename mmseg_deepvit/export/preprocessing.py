"""A config's steps from an image to the network, as metadata of an exported file.

Reference: mmcv ``mmcv/transforms/processing.py`` (``Resize``), mmsegmentation
``mmseg/utils/misc.py`` (``stack_batch``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from mmseg.models import BaseSegmentor, SegDataPreProcessor
from timm.layers.helpers import to_2tuple

from ..errors import UserError
from ..inference import BandDataPreProcessor, input_channels
from ..inference.arrays import RGB_CHANNELS
from .network import Normalize

_LOADING = dict(color_type="color", imdecode_backend="cv2", to_float32=False)
#: Transforms that can be exported, with the required values of arguments that change pixels.
_TRANSFORMS: dict[str, dict[str, Any]] = {
    "LoadImageFromFile": _LOADING,
    "LoadImageFromNDArray": _LOADING,
    "LoadBands": {},
    "Resize": dict(interpolation="bilinear", backend="cv2", scale_factor=None),
    "LoadAnnotations": {},
    "PackSegInputs": {},
}


class Preprocessing(NamedTuple):
    """Steps before the normalisation of an image.

    Attributes:
        resize: ``scale`` (width, height) and ``keep_ratio``, or None.
        padding: ``size`` (height, width) or ``size_divisor``, and ``value`` of each channel; or
            None.
        loading: ``bands`` and ``value_range`` of ``LoadBands``; None for 8-bit RGB.
    """

    loading: dict[str, Any] | None
    resize: dict[str, Any] | None
    padding: dict[str, Any] | None


def read_preprocessing(model: BaseSegmentor) -> Preprocessing:
    """Read a segmentor's test pipeline and the padding of its ``data_preprocessor``.

    Raises:
        UserError: An exported file cannot describe a step; the message names it.
    """
    loading: dict[str, Any] | None = None
    resize = None
    steps = model.cfg.get("test_pipeline")
    if not steps:
        raise UserError("the config has no test_pipeline; set the steps that prepare images")
    for step in steps:
        settings = dict(step)
        kind = settings.pop("type")
        name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
        if name not in _TRANSFORMS or (name == "Resize" and resize):
            again = "a second " if name == "Resize" else ""
            raise _refusal(f"{again}{name} of test_pipeline")
        for argument, exported in _TRANSFORMS[name].items():
            if settings.get(argument, exported) != exported:
                raise _refusal(f"{argument}={settings[argument]!r} of {name} in test_pipeline")
        if name == "LoadBands":
            ranges = settings.get("value_range")
            ranges = None if ranges is None else np.asarray(ranges, dtype=float).tolist()
            loading = dict(bands=list(settings["bands"]), value_range=ranges)
        elif name == "Resize":
            scale = [int(side) for side in to_2tuple(settings["scale"])]
            if min(scale) < 1:
                raise UserError(f"Resize of test_pipeline has scale {scale}; give it in pixels")
            resize = dict(scale=scale, keep_ratio=bool(settings.get("keep_ratio", False)))
    given = RGB_CHANNELS if loading is None else len(loading["bands"])
    if given != (taken := input_channels(model.cfg.model)):
        raise UserError(
            f"test_pipeline loads {given} channels and the backbone takes {taken}; set bands of "
            "LoadBands, or in_channels of model.backbone"
        )
    return Preprocessing(loading, resize, _read_padding(model))


def _read_padding(model: BaseSegmentor) -> dict[str, Any] | None:
    own = model.data_preprocessor
    if type(own) not in (SegDataPreProcessor, BandDataPreProcessor):
        raise _refusal(f"data_preprocessor of type {type(own).__name__}")
    settings = {k: v for k, v in (own.test_cfg or {}).items() if v is not None}
    if not settings:
        return None
    if set(settings) not in ({"size"}, {"size_divisor"}):
        raise _refusal(f"data_preprocessor.test_cfg={dict(settings)}")
    if "size" in settings:
        settings["size"] = list(to_2tuple(settings["size"]))
    normalize = Normalize(model)
    # The value in the raw image that the network normalises to pad_val.
    value = (own.pad_val * normalize.std + normalize.mean).flatten().tolist()
    return {**settings, "value": value[::-1] if normalize.reverses else value}


def _refusal(what: str) -> UserError:
    return UserError(
        f"{what} cannot be exported and changes labels; remove it by --cfg-options, or predict "
        "from the checkpoint"
    )
