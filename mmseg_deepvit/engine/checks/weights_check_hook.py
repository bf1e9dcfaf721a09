"""Stop, or warn, where weights and config do not belong together."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.models import BaseSegmentor
from mmseg.registry import HOOKS
from torch import Tensor

from ...checkpoints import (
    Checkpoint,
    Normalization,
    saved_normalization,
    segmentor_state_dict,
    summarize_keys,
)
from ...checkpoints.compatibility import check_kinds
from ...checkpoints.normalization import normalization_from
from .class_check_hook import unwrap_segmentor


@HOOKS.register_module()
class WeightsCheckHook(Hook):
    """Compare weights with the config that loads them.

    mmengine loads the tensors that fit and trains the rest from random values, so ``load_from`` a
    backbone's file would load nothing. No loader compares the normalisation of the images.

    Raises:
        CheckpointError: The file of ``load_from`` or ``resume`` is another model's, or has numbers
            of another kind.
    """

    #: Before EMAHook, which copies a loaded checkpoint's weights.
    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Warn if the backbone's weights need another normalisation."""
        segmentor = unwrap_segmentor(runner.model)
        backbone = getattr(segmentor, "backbone", None)
        source, trained = getattr(backbone, "trained_input", None) or ("", None)
        warn_of_normalization(segmentor, trained, source)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint, and rename published weights, before mmengine loads it."""
        segmentor = unwrap_segmentor(runner.model)
        content = Checkpoint(checkpoint, str(getattr(runner, "_load_from", None) or "to load"))
        checkpoint.update(fit_segmentor(segmentor.state_dict(), content))
        warn_of_normalization(segmentor, saved_normalization(content), content.path)


def fit_segmentor(own: Mapping[str, Tensor], checkpoint: Checkpoint) -> dict[str, Checkpoint]:
    """Rename published weights in a checkpoint as in mmseg 1.x, and compare them with a segmentor.

    Args:
        own: The segmentor's ``state_dict()``.
        checkpoint: Content of the file.

    Returns:
        The ``state_dict`` to put in the place of the file's, or nothing.

    Raises:
        CheckpointError: Less than half of the model's and of the file's tensors fit, or numbers are
            of another kind.
    """
    held = checkpoint.tensors(checkpoint.get("state_dict", checkpoint))
    names = [name.removeprefix("module.") for name in held]
    state = segmentor_state_dict(checkpoint) if names else held
    shared = [k for k, v in own.items() if k in state and state[k].shape == v.shape]
    if 2 * len(shared) < min(len(own), len(state) or 1):
        fits = f"fits {len(shared)} of the model's {len(own)} tensors"
        if any(name.startswith("decode_head.") for name in names):
            remedy = "give one that was trained with this model's config"
            raise checkpoint.error(f"{fits} (it holds another segmentor)", remedy)
        holds = f"it holds {summarize_keys(names[:3])}, …" if names else "it holds no state_dict"
        raise checkpoint.error(
            f"{fits} ({holds}), and load_from takes full segmentors",
            "give a backbone's file as model.backbone.init_cfg.type=Pretrained "
            f"model.backbone.init_cfg.checkpoint={checkpoint.path}",
        )
    check_kinds(own, state)
    renamed = "state_dict" not in checkpoint or state.keys() != set(names)
    return {"state_dict": state} if renamed else {}


def warn_of_normalization(
    segmentor: BaseSegmentor, trained: Normalization | None, source: str
) -> None:
    """Warn in one line if a segmentor normalises images in another way than its weights need.

    Args:
        segmentor: Segmentor, whose data preprocessor normalises the images.
        trained: Normalisation that the weights need; None says nothing.
        source: File of the weights.
    """
    if trained is None:
        return
    preprocessor = segmentor.data_preprocessor
    values = {name: getattr(preprocessor, name, None) for name in ("mean", "std")}
    plain = {k: v.flatten().tolist() for k, v in values.items() if isinstance(v, Tensor)}
    own = normalization_from(plain)
    if own is not None and own.agrees(trained):
        return
    does = f"mean {_list(own.mean)} and std {_list(own.std)}" if own else "no normalisation"
    print_log(
        f"{source} was trained on images normalised by mean {_list(trained.mean)} and std "
        f"{_list(trained.std)}, and the config has {does}: set "
        f'model.data_preprocessor.mean="{_list(trained.mean)}" '
        f'model.data_preprocessor.std="{_list(trained.std)}"',
        "current",
        logging.WARNING,
    )


def _list(values: tuple[float, ...]) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in values) + "]"
