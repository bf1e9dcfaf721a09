"""Does a checkpoint fit a model? Told before anything is loaded, in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import CheckpointError
from .key_maps import summarize_keys

#: What only training uses: the mixing loss's classifier of patches. Models and files differ in it.
_TRAINING_ONLY = "patch_head."


def load_whole_model(
    model: nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Load a checkpoint into the model that it was made from, all of it or nothing.

    Args:
        model: A segmentor, for inference.
        state: The checkpoint's weights.
        path: The checkpoint, named in errors.

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
    """Raise where values would lose a part, or are steps of a quantisation.

    A model's real numbers are to be real in the file too, and its whole ones at least whole.

    Args:
        own: The model's ``state_dict()``.
        state: The checkpoint's weights; those that the model has not are passed over.
        path: The checkpoint, named in the error.

    Raises:
        CheckpointError: The message names the first tensor.
    """
    for name, value in own.items():
        given = state.get(name, value)
        if not _keeps(given, value):
            raise CheckpointError(
                f"checkpoint {path} holds {_dtype(given)} numbers in {name}, and the model "
                f"{_dtype(value)}: save the weights as the model has them, model.state_dict()"
            )


def _keeps(given: Tensor, own: Tensor) -> bool:
    """Whether a model's tensor can take over what is given."""
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
    """Raise where tensors of one name differ in shape.

    Args:
        own: The model's ``state_dict()``.
        state: The checkpoint's weights; those that the model has not are passed over.
        path: The checkpoint, named in the error.
        remedy: The end of the message: what to set.

    Raises:
        CheckpointError: The message names the first tensor.
    """
    unfit = [k for k in state if k in own and state[k].shape != own[k].shape]
    if unfit:
        key = unfit[0]
        raise CheckpointError(
            f"{path} does not fit the model in {len(unfit)} tensors, the first {key}: "
            f"{tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model; {remedy}"
        )


def check_finite(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raise if a checkpoint holds NaN or infinity: a model says the first class of everything then.

    Args:
        state: The checkpoint's weights.
        path: The checkpoint, named in the error.

    Raises:
        CheckpointError: The message names the tensors.
    """
    bad = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"checkpoint {path} holds NaN or infinity in {len(bad)} tensors "
            f"({summarize_keys(bad[:3])}{', …' if len(bad) > 3 else ''}): its training has "
            "diverged; take an earlier one"
        )


def check_same_model(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Raise unless a checkpoint holds just the tensors of a model that inference uses.

    Args:
        own: The model's ``state_dict()``.
        state: The checkpoint's weights.
        path: The checkpoint, named in errors.

    Raises:
        CheckpointError: Names or shapes differ. The message tells a different number of classes
            from a different model.
    """
    own, state = (
        {k: v for k, v in weights.items() if not k.startswith(_TRAINING_ONLY)}
        for weights in (own, state)
    )
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    unfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    if not missing and not unexpected and not unfit:
        return
    if not missing and not unexpected and all(".conv_seg." in k for k in unfit):
        classes = state[unfit[0]].shape[0], own[unfit[0]].shape[0]
        raise CheckpointError(
            f"checkpoint {path} has {classes[0]} classes and the config {classes[1]} ({unfit[0]}): "
            "give the config it was trained with, or set num_classes of the heads"
        )
    differences = [
        f"{len(keys)} {what} ({summarize_keys(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", unfit),
        )
        if keys
    ]
    raise CheckpointError(
        f"checkpoint {path} belongs to another model than the config, tensors differ: "
        f"{'; '.join(differences)}; give the config it was trained with"
    )
