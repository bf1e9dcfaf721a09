"""Compare a checkpoint with a model before anything is loaded; an error is one line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..errors import CheckpointError
from .key_maps import summarize_keys

#: Prefix of the mixing loss's classifier of patches, which only training uses.
_TRAINING_ONLY = "patch_head."


def load_whole_model(
    model: nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Load all weights of a checkpoint into the model that it was made from, or none.

    Args:
        model: Segmentor for inference.
        state: Weights of the checkpoint.
        path: Path of the checkpoint, named in errors.

    Raises:
        CheckpointError: As :func:`check_same_model`, :func:`check_kinds` and :func:`check_finite`.
    """
    check_same_model(model.state_dict(), state, path)
    check_kinds(model.state_dict(), state, path)
    check_finite(state, path)
    model.load_state_dict(dict(state), strict=False)


def check_kinds(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Refuse numbers that would lose a part in the model's type, or are steps of a quantisation.

    Args:
        own: The model's ``state_dict()``.
        state: Weights of the checkpoint; the model may lack some of them.
        path: Path of the checkpoint, named in the error.

    Raises:
        CheckpointError: The file has integers or complex numbers for the model's real ones, or
            fractions for its integers.
    """
    for name, value in own.items():
        given = state.get(name, value)
        if not _keeps(given, value):
            raise CheckpointError(
                f"checkpoint {path} holds {_dtype(given)} numbers in {name}, and the model "
                f"{_dtype(value)}: save the weights as the model has them, model.state_dict()"
            )


def _keeps(given: Tensor, own: Tensor) -> bool:
    """Whether a model's tensor can take over the given values."""
    if own.is_complex():
        return True
    if own.is_floating_point():
        return given.is_floating_point()
    if given.is_floating_point():
        return bool((given % 1 == 0).all())
    return not given.is_complex()


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def check_shapes(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    remedy: str,
) -> None:
    """Refuse tensors whose shape is not the model's.

    Args:
        own: The model's ``state_dict()``.
        state: Weights of the checkpoint; the model may lack some of them.
        path: Path of the checkpoint, named in the error.
        remedy: End of the message: the option to set.

    Raises:
        CheckpointError: Shapes differ; the message names the first tensor.
    """
    unfit = [k for k in state if k in own and state[k].shape != own[k].shape]
    if unfit:
        key = unfit[0]
        raise CheckpointError(
            f"{path} does not fit the model in {len(unfit)} tensors, the first {key}: "
            f"{tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model; {remedy}"
        )


def check_finite(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raise CheckpointError for NaN or infinity, with which a model predicts one class only."""
    bad = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"checkpoint {path} holds NaN or infinity in {len(bad)} tensors ({_first(bad)}): its "
            "training has diverged; take an earlier one"
        )


def check_same_model(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Raise unless a checkpoint holds exactly the tensors of a model that inference uses.

    Args:
        own: The model's ``state_dict()``.
        state: Weights of the checkpoint.
        path: Path of the checkpoint, named in errors.

    Raises:
        CheckpointError: Names or shapes differ. Another number of classes is told as such.
    """
    own, state = (
        {k: v for k, v in weights.items() if not k.startswith(_TRAINING_ONLY)}
        for weights in (own, state)
    )
    unfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    if unfit and own.keys() == state.keys() and all(".conv_seg." in k for k in unfit):
        classes = state[unfit[0]].shape[0], own[unfit[0]].shape[0]
        raise CheckpointError(
            f"checkpoint {path} has {classes[0]} classes and the config {classes[1]} ({unfit[0]}): "
            "give the config it was trained with, or set num_classes of the heads"
        )
    found = {
        "missing": [k for k in own if k not in state],
        "unexpected": [k for k in state if k not in own],
        "of another shape": unfit,
    }
    if any(found.values()):
        listed = (f"{len(keys)} {what} ({_first(keys)})" for what, keys in found.items() if keys)
        raise CheckpointError(
            f"checkpoint {path} belongs to another model than the config, tensors differ: "
            f"{'; '.join(listed)}; give the config it was trained with"
        )


def _first(keys: Sequence[str]) -> str:
    return summarize_keys(keys[:3]) + (", …" if len(keys) > 3 else "")
