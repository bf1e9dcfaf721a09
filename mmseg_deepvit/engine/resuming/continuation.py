"""Compare model, optimiser and schedule with those in the checkpoint to resume from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn
from torch.optim import Optimizer

from ...errors import CheckpointError

#: Share of its first value below which a learning rate has no effect.
_NEAR_ZERO = 0.01

Shape = tuple[int, ...]


def check_same_parameters(
    model: nn.Module, optimizer: Optimizer | None, checkpoint: Mapping[str, Any]
) -> None:
    """Refuse to resume with other parameters of the model, or other groups of the optimiser.

    mmengine would start unfit parameters from random values, and fail in the optimiser's step.

    Args:
        model: Model to resume, without a wrapper.
        optimizer: Its optimiser; None if it has several.
        checkpoint: Content of the checkpoint.

    Raises:
        CheckpointError: Parameters or groups differ; the message names the first.
    """
    saved = {
        name.removeprefix("module."): tuple(tensor.shape)
        for name, tensor in (checkpoint.get("state_dict") or {}).items()
    }
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if saved and (other := list(_differences(saved, own))):
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise CheckpointError(
            f"the checkpoint to resume from is of another model ({', '.join(other[:3])}{more}): "
            "take the config that it was saved with, or start from its weights in another "
            "--work-dir with load_from and without --resume"
        )
    groups = (checkpoint.get("optimizer") or {}).get("param_groups")
    if optimizer is None or groups is None:
        return
    sizes = [[len(g["params"]) for g in kind] for kind in (groups, optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        raise CheckpointError(
            f"the checkpoint to resume from has an optimiser with {len(sizes[0])} groups of "
            f"{sum(sizes[0])} parameters, and this one has {len(sizes[1])} of {sum(sizes[1])}: "
            "take the optim_wrapper that it was saved with, or start from the weights in another "
            "--work-dir with load_from and without --resume"
        )


def _differences(saved: Mapping[str, Shape], own: Mapping[str, Shape]) -> Iterator[str]:
    for name, shape in own.items():
        if name not in saved:
            yield f"{name} is not in it"
        elif saved[name] != shape:
            yield f"{name} is {saved[name]} in it and {shape} in the model"
    yield from (f"{name} is not in the model" for name in saved if name not in own)


def say_if_schedule_ends(runner: Any) -> None:
    """Warn where the learning rate's schedule in the checkpoint is shorter than the run.

    mmengine resumes the checkpoint's schedules, even if they end before the config's.
    """
    schedules = [s for s in _lists(runner.param_schedulers) if s.param_name == "lr"]
    end = max((s.end for s in schedules if not s.by_epoch), default=runner.max_iters)
    in_config = [
        s.get("end") or 0
        for s in _lists(runner.cfg.get("param_scheduler"))
        if not s.get("by_epoch", True)
    ]
    groups = _lists(runner.optim_wrapper.param_groups)
    left = max(g["lr"] / (g.get("initial_lr") or g["lr"] or 1) for g in groups)
    if runner.iter < end < max(in_config, default=0):
        said = f"ends at iteration {end}, as in the checkpoint and not as in the config"
    elif end <= runner.iter < runner.max_iters and left <= _NEAR_ZERO:
        rate = max(g["lr"] for g in groups)
        said = f"ended at iteration {end}, and the rate stays {rate:.2g}: further steps do nothing"
    else:
        return
    print_log(
        f"the schedule of the learning rate {said}; to train for longer, start from these weights "
        "with load_from=CHECKPOINT and a longer param_scheduler, in another --work-dir and without "
        "--resume",
        "current",
        logging.WARNING,
    )


def _lists(value: Any) -> list[Any]:
    """All entries of a list, or of the dict of lists that several optimisers have."""
    if isinstance(value, Mapping):
        return [entry for part in value.values() for entry in part]
    return list(value or ())
