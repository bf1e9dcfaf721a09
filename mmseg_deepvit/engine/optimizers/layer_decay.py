"""Learning rates that fall layer by layer from the head to the stem.

Paper: ELECTRA, https://arxiv.org/abs/2003.10555; for vision transformers BEiT,
https://arxiv.org/abs/2106.08254.
Reference: mmsegmentation ``mmseg/engine/optimizers/layer_decay_optimizer_constructor.py``, which
knows BEiT, MAE and ConvNeXt only.
Deviations: blocks of any backbone are found by their names; ``custom_keys`` and mmengine's other
options act too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

_BLOCK = re.compile(r"(blocks|layers)\.\d+|stages\.\d+\.blocks\.\d+")
_STAGE = re.compile(r"stages\.\d+\.")
_FINAL_NORM = re.compile(r"(norm|ln)\d*\.")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BlockDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with ``paramwise_cfg.layer_decay_rate``.

    Heads, neck and final norms learn at the base rate, the last block at rate·base, the one before
    at rate²·base. The stem (patch embedding, tokens, positions) learns at rate^(blocks + 1)·base.
    Parameters with the same options make one group; frozen ones are in none. The groups are logged.

    Args:
        optim_wrapper_cfg: Config of mmengine's constructor.
        paramwise_cfg: Options of mmengine's constructor, and ``layer_decay_rate`` in (0, 1].

    Raises:
        ValueError: The rate is missing or outside (0, 1], the optimizer has no ``lr``, or the
            backbone has no blocks.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='BlockDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.8))
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get("layer_decay_rate")
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                f"paramwise_cfg.layer_decay_rate must be above 0 and at most 1, got {rate!r}"
            )
        if self.base_lr is None:
            raise ValueError("optim_wrapper.optimizer needs lr, which layer_decay_rate scales")

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", **kwargs: Any
    ) -> None:
        """Add the parameters of a module; the outermost call also scales their rates."""
        if prefix:
            super().add_params(params, module, prefix, **kwargs)
            return
        with _without_a_line_for_each():
            super().add_params(params, module, prefix, **kwargs)  # passes over frozen ones
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        scale = layer_scales(module, self.paramwise_cfg["layer_decay_rate"])
        base_lr: Any = self.base_lr
        for group in params:
            (parameter,) = group["params"]
            group["lr"] = group.get("lr", base_lr) * scale(names[id(parameter)])
        params[:] = _merge(params)
        frozen = [p for p in module.parameters() if not p.requires_grad]
        _log_groups(params, frozen, self.base_wd)


def layer_scales(model: nn.Module, rate: float) -> Callable[[str], float]:
    """Factors of the base learning rate for the parameters of a segmentor.

    Args:
        model: Segmentor with a ``backbone``.
        rate: Factor from one layer to the one before, in (0, 1].

    Returns:
        Function from a parameter's name in the segmentor to its factor.

    Raises:
        ValueError: The backbone has no ``blocks``, ``layers`` or ``stages.*.blocks``.
    """
    backbone: Any = getattr(model, "backbone", None)
    blocks = [name for name, _ in backbone.named_modules() if _BLOCK.fullmatch(name)]
    if not blocks:
        raise ValueError(f"layer_decay_rate finds no blocks in {type(backbone).__name__}")

    def scale(name: str) -> float:
        head, _, inner = name.partition(".")
        return 1.0 if head != "backbone" else rate ** _depth_from_top(inner, blocks)

    return scale


def _depth_from_top(name: str, blocks: list[str]) -> int:
    """0 for final norms, 1 for the last block, len(blocks) + 1 for the stem."""
    within = [i for i, block in enumerate(blocks) if name.startswith(f"{block}.")]
    stage = _STAGE.match(name)
    if stage and not within:  # patch merging counts with the last block of its stage
        within = [i for i, block in enumerate(blocks) if block.startswith(stage[0])]
    if within:
        return len(blocks) - within[-1]
    return 0 if _FINAL_NORM.match(name) else len(blocks) + 1


def _merge(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one group of all parameters with the same options."""
    merged: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for group in params:
        options = {k: v for k, v in group.items() if k != "params"}
        key = tuple(sorted((k, repr(v)) for k, v in options.items()))
        merged.setdefault(key, {**options, "params": []})["params"] += group["params"]
    return list(merged.values())


def _log_groups(
    params: list[dict[str, Any]], frozen: list[nn.Parameter], base_wd: float | None
) -> None:
    lines = [
        f"  lr {group['lr']:.3g}, weight decay {group.get('weight_decay', base_wd) or 0:.3g}: "
        f"{_counts(group['params'])}"
        for group in sorted(params, key=lambda group: group["lr"])
    ]
    if frozen:
        lines.append(f"  frozen: {_counts(frozen)}")
    print_log("\n".join([f"{len(params)} groups of parameters:", *lines]), "current")


def _counts(parameters: list[nn.Parameter]) -> str:
    return f"{len(parameters)} tensors, {sum(p.numel() for p in parameters):,} parameters"


@contextmanager
def _without_a_line_for_each() -> Iterator[None]:
    """Keep mmengine's line for each parameter out of the log, which names the groups."""
    logger = MMLogger.get_current_instance()
    logger.addFilter(_is_no_line_for_one)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_line_for_one)


def _is_no_line_for_one(record: logging.LogRecord) -> bool:
    is_frozen = "is skipped since its requires_grad" in record.getMessage()
    return record.levelno >= logging.WARNING and not is_frozen
