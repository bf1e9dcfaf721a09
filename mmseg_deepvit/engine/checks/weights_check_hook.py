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
    Normalization,
    saved_normalization,
    segmentor_state_dict,
    summarize_keys,
)
from ...checkpoints.compatibility import check_kinds
from ...checkpoints.normalization import normalization_from
from ...errors import CheckpointError
from .class_check_hook import unwrap_segmentor


@HOOKS.register_module()
class WeightsCheckHook(Hook):
    """Compare weights with the config that they are loaded by.

    mmengine takes what fits of a file and trains the rest from random values: ``load_from`` of a
    backbone's file would start from nothing. And no loader knows which normalisation of the images
    weights were trained with.

    Raises:
        CheckpointError: What ``load_from`` or ``resume`` names is another model's, or its numbers
            are of another kind.
    """

    #: Before EMAHook, which takes a loaded checkpoint's weights for its average.
    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Warn where the backbone's weights want images normalised in another way."""
        segmentor = unwrap_segmentor(runner.model)
        backbone = getattr(segmentor, "backbone", None)
        source, trained = getattr(backbone, "trained_input", None) or ("", None)
        warn_of_normalization(segmentor, trained, source)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check what a checkpoint holds, and rename a published one's, before mmengine takes it."""
        segmentor = unwrap_segmentor(runner.model)
        path = str(getattr(runner, "_load_from", None) or "to load")
        fit_segmentor(segmentor.state_dict(), checkpoint, path)
        warn_of_normalization(segmentor, saved_normalization(checkpoint), path)


def fit_segmentor(own: Mapping[str, Tensor], checkpoint: dict[str, Any], path: str) -> None:
    """Have a checkpoint hold a segmentor's weights, in the names of mmseg 1.x.

    Args:
        own: The segmentor's ``state_dict()``.
        checkpoint: What the file holds; its ``state_dict`` is replaced where its names are
            published ones.
        path: Named in errors.

    Raises:
        CheckpointError: Neither half of the model's tensors nor half of the file's fit, or numbers
            are of another kind.
    """
    held = checkpoint.get("state_dict", checkpoint)
    tensors = held.items() if isinstance(held, Mapping) else ()
    names = [str(k).removeprefix("module.") for k, v in tensors if isinstance(v, Tensor)]
    state = segmentor_state_dict(checkpoint, path) if names else {}
    shared = [k for k, v in own.items() if k in state and state[k].shape == v.shape]
    if 2 * len(shared) < min(len(own), len(state) or 1):
        raise CheckpointError(
            f"checkpoint {path} fits {len(shared)} of the model's {len(own)} tensors "
            f"{_remedy(names, path)}"
        )
    check_kinds(own, state, path)
    if "state_dict" not in checkpoint or state.keys() != set(names):
        checkpoint["state_dict"] = state


def _remedy(names: list[str], path: str) -> str:
    """What a file that does not fit holds, and how to give it."""
    if any(name.startswith("decode_head.") for name in names):
        return "(it holds another segmentor): give one that was trained with this model's config"
    holds = f"it holds {summarize_keys(names[:3])}, …" if names else "it holds no state_dict"
    return (
        f"({holds}), and load_from takes whole segmentors: give a backbone's file as "
        f"model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint={path}"
    )


def warn_of_normalization(
    segmentor: BaseSegmentor, trained: Normalization | None, source: str
) -> None:
    """Say in one line where images are normalised in another way than weights were trained with.

    Args:
        segmentor: Its data preprocessor tells how images are normalised.
        trained: What the weights were trained with; None says nothing.
        source: The weights' file.
    """
    if trained is None:
        return
    own = _own_normalization(segmentor)
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


def _own_normalization(segmentor: BaseSegmentor) -> Normalization | None:
    preprocessor = segmentor.data_preprocessor
    mean, std = (getattr(preprocessor, name, None) for name in ("mean", "std"))
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return None
    return normalization_from({"mean": mean.flatten().tolist(), "std": std.flatten().tolist()})


def _list(values: tuple[float, ...]) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in values) + "]"
