"""Compare a checkpoint with a model before anything is loaded; an error is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from .checkpoint import Checkpoint
from .key_maps import summarize_keys

#: Prefix of the mixing loss's classifier of patches, which only training uses.
_TRAINING_ONLY = "patch_head."


def load_whole_model(model: nn.Module, state: Checkpoint) -> None:
    """Load all weights into the model, for inference, that they are of, or none.

    Raises:
        CheckpointError: As :func:`check_same_model`, :func:`check_kinds` and :func:`check_finite`.
    """
    own = model.state_dict()
    check_same_model(own, state)
    check_kinds(own, state)
    check_finite(state)
    model.load_state_dict(state, strict=False)


def check_kinds(own: Mapping[str, Tensor], state: Checkpoint) -> None:
    """Refuse numbers that would lose a part in the model's type, or are steps of a quantisation.

    Args:
        own: The model's ``state_dict()``.
        state: Weights; the model may lack some of them.

    Raises:
        CheckpointError: The file has integers or complex numbers for the model's real ones, or
            fractions for its integers.
    """
    for name, value in own.items():
        given = state.get(name, value)
        if not _keeps(given, value):
            raise state.error(
                f"holds {_dtype(given)} numbers in {name}, and the model {_dtype(value)}",
                "save the weights as the model has them, model.state_dict()",
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


def check_shapes(own: Mapping[str, Tensor], state: Checkpoint, remedy: str) -> None:
    """Refuse tensors whose shape is not the model's.

    Args:
        own: The model's ``state_dict()``.
        state: Weights; the model may lack some of them.
        remedy: End of the message: the option to set.

    Raises:
        CheckpointError: Shapes differ; the message names the first tensor.
    """
    unfit = [k for k in state if k in own and state[k].shape != own[k].shape]
    if unfit:
        key = unfit[0]
        raise state.error(
            f"does not fit the model in {len(unfit)} tensors, the first {key}: "
            f"{tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model",
            remedy,
        )


def check_finite(state: Checkpoint) -> None:
    """Raise CheckpointError for NaN or infinity, with which a model predicts one class only."""
    bad = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise state.error(
            f"holds NaN or infinity in {len(bad)} tensors ({_first(bad)}), its training diverged",
            "take an earlier one",
        )


def check_same_model(own: Mapping[str, Tensor], state: Checkpoint) -> None:
    """Raise unless weights are exactly the tensors of a model that inference uses.

    Args:
        own: The model's ``state_dict()``.
        state: Weights.

    Raises:
        CheckpointError: Names or shapes differ. Another number of classes is told as such.
    """
    own = {k: v for k, v in own.items() if not k.startswith(_TRAINING_ONLY)}
    state = state.part({k: v for k, v in state.items() if not k.startswith(_TRAINING_ONLY)})
    unfit = [k for k in own if k in state and own[k].shape != state[k].shape]
    if unfit and own.keys() == state.keys() and all(".conv_seg." in k for k in unfit):
        classes = state[unfit[0]].shape[0], own[unfit[0]].shape[0]
        raise state.error(
            f"has {classes[0]} classes and the config {classes[1]} ({unfit[0]})",
            "give the config it was trained with, or set num_classes of the heads",
        )
    found = {
        "missing": [k for k in own if k not in state],
        "unexpected": [k for k in state if k not in own],
        "of another shape": unfit,
    }
    if any(found.values()):
        listed = (f"{len(keys)} {what} ({_first(keys)})" for what, keys in found.items() if keys)
        raise state.error(
            f"belongs to another model than the config, tensors differ: {', '.join(listed)}",
            "give the config it was trained with",
        )


def _first(keys: Sequence[str]) -> str:
    return summarize_keys(keys[:3]) + (", …" if len(keys) > 3 else "")
