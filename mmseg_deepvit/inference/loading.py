"""Building a segmentor from a config, and loading a checked checkpoint into it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS, MODELS

from ..checkpoints import Checkpoint, load_whole_model, read_checkpoint, segmentor_state_dict
from ..errors import CheckpointError, UserError, first_line
from ..label_pictures import NO_PALETTE, is_palette
from .sliding import scored_classes


def build_segmentor(cfg: Config, device: str | torch.device = "cpu") -> BaseSegmentor:
    """Build a segmentor with the weights that training would start from.

    Args:
        cfg: Config of the segmentor; pretrained weights of its ``init_cfg`` are loaded.
        device: Device of the model.

    Returns:
        The segmentor in eval mode, with ``cfg``.

    Raises:
        UserError: Pretrained weights cannot be loaded, or there is no such device.
    """
    model = MODELS.build(cfg.model.copy())
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("WARNING")  # mmengine logs a line for each parameter
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
    model.cfg = cfg
    return _to_device(model, device)


def load_segmentor(
    cfg: Config,
    checkpoint: str | os.PathLike[str] | Checkpoint,
    device: str | torch.device = "cpu",
) -> BaseSegmentor:
    """Build a segmentor and load all weights of a checkpoint that training saved.

    Args:
        cfg: Config of that training.
        checkpoint: Path of the checkpoint, whose code is not run, or its content.
        device: Device of the model.

    Returns:
        The segmentor in eval mode, with ``cfg`` and ``dataset_meta`` (classes and palette), ready
        for ``mmseg.apis.inference_model(model, array)``.

    Raises:
        UserError: The checkpoint cannot be read or belongs to another model, its number of classes
            is not the config's, or there is no such device.
    """
    model_cfg = cfg.model.copy()
    model_cfg.pop("pretrained", None)
    # The checkpoint has all weights; the pretrained ones may be missing on this machine.
    model_cfg.backbone = {k: v for k, v in model_cfg.backbone.items() if k != "init_cfg"}
    model = MODELS.build(model_cfg)
    content = checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)
    load_whole_model(model, segmentor_state_dict(content))
    model.cfg = cfg
    model.dataset_meta = _dataset_meta(content, cfg)
    _check_classes(model, content)
    return _to_device(model, device)


def _to_device(model: BaseSegmentor, device: str | torch.device) -> BaseSegmentor:
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        said = first_line(error)
        raise UserError(f"device {device} cannot be used ({said}); try --device cpu") from error


def _dataset_meta(content: Checkpoint, cfg: Config) -> dict[str, Any]:
    """Read classes and palette from the checkpoint, or from the config's dataset."""
    dataset = cfg.get("test_dataloader", {}).get("dataset", {})
    kind = DATASETS.get(dataset.get("type", ""))
    own = {**getattr(kind, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    saved = content.meta.get("dataset_meta")
    if not isinstance(saved, Mapping) or not saved.get("classes"):
        saved = {}
    classes = saved.get("classes") or own.get("classes")
    if classes is None:
        raise content.error(
            "names no classes, nor does the config's dataset",
            "set test_dataloader.dataset.metainfo.classes",
        )
    if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
        named = f"checkpoint {content.path}" if saved else "test_dataloader.dataset.metainfo"
        raise CheckpointError(f"{named} has no list of class names; give one")
    palette = np.random.RandomState(42).randint(0, 255, (len(classes), 3)).tolist()  # as mmseg
    for source, given in (
        ("test_dataloader.dataset.metainfo", own.get("palette")),
        (f"checkpoint {content.path}", saved.get("palette")),
    ):
        if given is None or (isinstance(given, Sized) and not len(given)):
            continue
        if not is_palette(given):
            raise CheckpointError(f"{source}: its palette {NO_PALETTE}")
        if len(given) == len(classes):
            palette = given
    return {**own, **saved, "classes": classes, "palette": palette}


def _check_classes(model: BaseSegmentor, checkpoint: Checkpoint) -> None:
    classes = model.dataset_meta["classes"]
    if len(classes) != scored_classes(model):
        raise checkpoint.error(
            f"names {len(classes)} classes and the config's head has {scored_classes(model)}",
            "give the config of its training",
        )
