"""What an exported file says about itself: all that prediction needs beside the graph."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from mmseg.models import BaseSegmentor
from timm.layers import to_2tuple

from ..errors import CheckpointError
from ..version import __version__
from .network import Normalize

#: Name of the extra file in TorchScript and torch.export archives.
EXTRA_FILE = "metadata.json"


@dataclass(frozen=True)
class Metadata:
    """Facts of an exported segmentor; normalisation is in the graph, and told for information.

    Attributes:
        classes: Name of each class.
        palette: RGB of each class, 0 to 255.
        input_size: Height and width that the file takes, in pixels; None for any.
        patch_size: Height and width of a patch; other sizes are padded to multiples in the graph.
        mean: Of each channel in ``model_order``, taken off in the graph.
        std: Of each channel in ``model_order``, divided by in the graph.
        align_corners: Whether logits are resized that way.
        threshold: Of the sigmoid of a single logit; None where the largest logit wins.
        resize: ``scale`` (width, height) and ``keep_ratio`` of the config's test pipeline, or None.
        windows: ``crop_size`` and ``stride`` (height, width) of slide inference, or None.
        input_order: Order of the channels that the file takes.
        input_range: Smallest and largest value that the file takes.
        model_order: Order of the channels inside the graph.
        version: Of mmseg_deepvit.
    """

    classes: list[str]
    palette: list[list[int]]
    input_size: list[int] | None
    patch_size: list[int] | None
    mean: list[float]
    std: list[float]
    align_corners: bool
    threshold: float | None
    resize: dict | None
    windows: dict | None
    input_order: str = "RGB"
    input_range: tuple[int, int] = (0, 255)
    model_order: str = "RGB"
    version: str = __version__

    def to_strings(self) -> dict[str, str]:
        """Each attribute as JSON."""
        return {k: json.dumps(v, ensure_ascii=False) for k, v in asdict(self).items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: str | os.PathLike) -> Metadata:
        """Read what :meth:`to_strings` wrote.

        Args:
            strings: JSON of each attribute, and whatever else is in the file.
            path: Named in errors.

        Raises:
            CheckpointError: An attribute is missing or no JSON.
        """
        try:
            return cls(**{field.name: json.loads(strings[field.name]) for field in fields(cls)})
        except (KeyError, ValueError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"{path} does not say what prediction needs ({said}): write it by tools/export.py"
            ) from error


def describe(model: BaseSegmentor, input_size: tuple[int, int] | None) -> Metadata:
    """Collect what a segmentor and its config say.

    Args:
        model: As :func:`~mmseg_deepvit.inference.load_segmentor` returns it.
        input_size: Height and width that the file takes; None for any.
    """
    normalize = Normalize(model)
    classes = list(model.dataset_meta["classes"])
    palette = model.dataset_meta["palette"]
    patch = getattr(model.backbone, "patch_size", None)
    single = model.out_channels == 1
    return Metadata(
        classes=classes,
        palette=[[int(value) for value in colour] for colour in palette],
        input_size=None if input_size is None else list(input_size),
        patch_size=None if patch is None else list(to_2tuple(patch)),
        mean=normalize.mean.flatten().tolist(),
        std=normalize.std.flatten().tolist(),
        align_corners=bool(model.align_corners),
        threshold=float(model.decode_head.threshold) if single else None,
        resize=_test_resize(model),
        windows=_windows(model),
        model_order="RGB" if normalize.rgb else "BGR",
    )


def _test_resize(model: BaseSegmentor) -> dict | None:
    for step in model.cfg.get("test_pipeline", ()):
        if step.get("type") == "Resize" and step.get("scale"):
            return dict(scale=list(step["scale"]), keep_ratio=bool(step.get("keep_ratio", False)))
    return None


def _windows(model: BaseSegmentor) -> dict | None:
    cfg = model.test_cfg or {}
    if cfg.get("mode") != "slide":
        return None
    return {name: list(to_2tuple(cfg[name])) for name in ("crop_size", "stride")}
