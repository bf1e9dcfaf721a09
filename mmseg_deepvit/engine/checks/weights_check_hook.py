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

from ...checkpoints import Normalization, saved_normalization, segmentor_state_dict, summarize_keys
from ...checkpoints.compatibility import check_kinds
from ...checkpoints.normalization import normalization_from
from ...errors import CheckpointError
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
        path = str(getattr(runner, "_load_from", None) or "to load")
        fit_segmentor(segmentor.state_dict(), checkpoint, path)
        warn_of_normalization(segmentor, saved_normalization(checkpoint), path)


def fit_segmentor(own: Mapping[str, Tensor], checkpoint: dict[str, Any], path: str) -> None:
    """Rename published weights in a checkpoint as in mmseg 1.x, and compare them with a segmentor.

    Args:
        own: The segmentor's ``state_dict()``.
        checkpoint: Content of the file; its ``state_dict`` may be replaced.
        path: Path of the file, named in errors.

    Raises:
        CheckpointError: Less than half of the model's and of the file's tensors fit, or numbers are
            of another kind.
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
    """Content of a file that does not fit, and the way to use it."""
    if any(name.startswith("decode_head.") for name in names):
        return "(it holds another segmentor): give one that was trained with this model's config"
    holds = f"it holds {summarize_keys(names[:3])}, …" if names else "it holds no state_dict"
    return (
        f"({holds}), and load_from takes full segmentors: give a backbone's file as "
        f"model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint={path}"
    )


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
