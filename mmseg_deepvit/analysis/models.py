"""Backbones and images to analyse: from a config, or from timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS
from torch import Tensor, nn

from ..checkpoints import TIMM_SCHEME, load_whole_model, read_checkpoint
from ..command_line import config_errors, load_config
from ..errors import UserError
from ..inference import find_images, load_segmentor, read_image, training_crop
from ..inference.arrays import RGB_CHANNELS, resize_by_area
from ..inference.pipeline import PredictionPipeline, prediction_steps


@dataclass(frozen=True)
class Subject:
    """A backbone to analyse.

    Attributes:
        name: Name in legends.
        backbone: Module in evaluation mode, on its device.
        shape: Height and width of the images that it was made for.
        mean: Mean of each channel, (channels,), in the model's order, of values from 0 to 255.
        std: Standard deviation of each channel, likewise.
        rgb: Whether three channels, which are read as B, G, R, are turned round.
        cfg: Config of the backbone; None for a model of timm's.
    """

    name: str
    backbone: nn.Module
    shape: tuple[int, int]
    mean: Sequence[float]
    std: Sequence[float]
    rgb: bool
    cfg: Config | None

    def prepare(self, images: Sequence[Path], shape: tuple[int, int] | None) -> Tensor:
        """Read images as the config's test does, resize and normalise them for the backbone.

        Args:
            images: Paths of images of any sizes.
            shape: Height and width to resize to; None for the model's own.

        Returns:
            (B, channels, H, W), normalised, on the backbone's device.

        Raises:
            UserError: An image cannot be read, or is none that the model takes.
        """
        read = read_image
        if self.cfg is not None:
            read = PredictionPipeline(prediction_steps(self.cfg)).read
        resized = [resize_by_area(read(path), shape or self.shape) for path in images]
        batch = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float()
        if self.rgb and batch.shape[1] == RGB_CHANNELS:
            batch = batch.flip(1)
        mean, std = (torch.tensor(list(x)).view(-1, 1, 1) for x in (self.mean, self.std))
        return ((batch - mean) / std).to(next(self.backbone.parameters()).device)


class TimmTransformer(nn.Module):
    """A model of timm's that returns its tokens, prefix tokens included."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.num_prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(B, prefix + h·w, C) tokens."""
        tokens: Tensor = self.model.forward_features(images)
        return tokens


def load_subject(
    source: str, checkpoint: str | None, device: str, options: Mapping[str, Any] | None = None
) -> Subject:
    """Build a backbone.

    Args:
        source: Path of a config, or ``timm://NAME``.
        checkpoint: File of the segmentor's, or of timm's model's weights. Without one, a config's
            model has the weights that its training starts from, and timm's has timm's.
        device: Device that it is moved to.
        options: Dotted keys and values of ``--cfg-options``.

    Raises:
        UserError: There is no such config, model or checkpoint, or they do not fit.
    """
    if source.startswith(TIMM_SCHEME):
        return _timm_subject(source, checkpoint, device)
    cfg = load_config(source, options)
    with config_errors(source):
        if checkpoint is None:
            backbone = MODELS.build(cfg.model.backbone)
            backbone.init_weights()
        else:
            backbone = load_segmentor(cfg, checkpoint).backbone
        backbone.to(device)
        backbone.eval()  # mmseg's backbones return None
        return config_subject(cfg, backbone, Path(source).stem)


def config_subject(cfg: Config, backbone: nn.Module, name: str = "model") -> Subject:
    """The subject of a backbone that is built already.

    Raises:
        UserError: The config does not tell the training crop.
    """
    preprocessor = cfg.model.data_preprocessor
    rgb = bool(preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))
    shape = training_crop(cfg)
    if shape is None:
        raise UserError(
            f"the config of {name} tells no training crop: set model.data_preprocessor.size"
        )
    return Subject(name, backbone, shape, preprocessor.mean, preprocessor.std, rgb, cfg)


def _timm_subject(source: str, checkpoint: str | None, device: str) -> Subject:
    name = source.removeprefix(TIMM_SCHEME)
    try:
        model: Any = timm.create_model(name)
    except RuntimeError as error:
        raise UserError(f"timm has no model {name}: give one of timm.list_models()") from error
    if not hasattr(model, "blocks"):
        raise UserError(f"{source} has no list of blocks: give a VisionTransformer of timm's")
    load_whole_model(model, read_checkpoint(checkpoint or source).find_weights())
    config: dict[str, Any] = model.pretrained_cfg
    _, height, width = config["input_size"]
    mean, std = ([255 * x for x in config[key]] for key in ("mean", "std"))
    backbone = TimmTransformer(model).to(device).eval()
    return Subject(name, backbone, (height, width), mean, std, True, None)


def choose_images(
    patterns: Sequence[str], subject: Subject, count: int, loader: str = "test_dataloader"
) -> list[Path]:
    """List the images that are named, else evenly spaced ones of a config's dataset.

    Args:
        patterns: Files, folders or patterns; may be empty.
        subject: Backbone whose config has the dataset.
        count: Largest number of images.
        loader: Name of the config's data loader that has the dataset.

    Returns:
        Paths, for :meth:`Subject.prepare`.

    Raises:
        UserError: There are none.
    """
    if patterns:
        return find_images(patterns)[:count]
    if subject.cfg is None or not subject.cfg.get(loader):
        raise UserError(f"{subject.name} has no {loader}: name images (--images photo.jpg folder/)")
    dataset = DATASETS.build({**subject.cfg[loader].dataset, "pipeline": []})
    if not len(dataset):
        raise UserError(f"the {loader} of {subject.name} finds no images: look at its data_root")
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return [Path(dataset.get_data_info(int(i))["img_path"]) for i in chosen]
