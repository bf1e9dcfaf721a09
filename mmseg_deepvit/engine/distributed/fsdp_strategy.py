"""Training with parameters, gradients and optimiser states split among all processes.

Paper: ZeRO, https://arxiv.org/abs/1910.02054; PyTorch FSDP, https://arxiv.org/abs/2304.11277.
Reference: PyTorch's ``fully_shard`` (FSDP2) and ``torch.distributed.checkpoint``.
Deviations: mmengine's ``FSDPStrategy`` needs GPUs, and the same number of processes to resume.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from mmengine._strategy import DDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_distributed
from mmengine.registry import STRATEGIES
from torch import Tensor, nn

from ...checkpoints import load_from_path
from ...checkpoints.sharded import REST, fill, is_sharded, read_sharded
from ...errors import CheckpointError, UserError
from .launching import revert_on_cpus
from .sharded_files import save_sharded, save_whole

#: Hooks that run or copy the full model in one process, which has only a part of it.
_NEED_WHOLE_MODEL = ("EMAHook", "CollapseHook", "MapNormCalibrationHook")


@STRATEGIES.register_module()
class FSDP2Strategy(DDPStrategy):
    """Split the model by blocks, on GPUs or CPUs, for mmengine's ``FlexibleRunner``.

    A block's parameters are collected when it runs and freed afterwards. Checkpoints are folders
    (:mod:`mmseg_deepvit.checkpoints.sharded`): each process writes its part, and any number of
    processes can resume. Checkpoints without optimiser, such as the best, are ordinary files.
    Without a launcher, training runs on one device.

    Args:
        units: Regular expression for the names of modules to split separately; the rest of the
            model is one more unit.
        **kwargs: Arguments of mmengine's strategies, such as ``work_dir`` and ``env_kwargs``.

    Raises:
        ValueError: ``units`` names no module of the model that is wrapped.
    """

    def __init__(
        self, *, units: str = r"backbone\.(stages\.\d+\.)?blocks\.\d+", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units

    def _wrap_model(self, model: nn.Module) -> Any:
        if not is_distributed():
            return super(DDPStrategy, self)._wrap_model(model)
        from torch.distributed.device_mesh import init_device_mesh

        device = torch.device(get_device())
        model = model.to(device)
        if device.type == "cpu":
            model = revert_on_cpus(model)
        shard = _fully_shard()
        mesh = init_device_mesh(device.type, (get_world_size(),))
        units = [m for name, m in model.named_modules() if re.fullmatch(self.units, name)]
        if not units:
            raise ValueError(f"units of FSDP2Strategy names no module of the model: {self.units}")
        for unit in units:
            shard(unit, mesh=mesh)
        shard(model, mesh=mesh)
        model.register_forward_pre_hook(_keep_whole_outside_training)
        self.logger.info(f"Split {len(units)} units among {get_world_size()} processes")
        return model

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """Save a checkpoint; all processes call it.

        Args:
            filename: Path of a folder if the optimiser is saved, else of a file.
            save_optimizer: Whether to save the optimiser, which resuming needs.
            save_param_scheduler: Whether to save the schedulers.
            extra_ckpt: Further content.
            callback: Function that changes the content before it is written.
        """
        content: dict[str, Any] = {"state_dict": self.model.state_dict()}
        if save_optimizer and hasattr(self, "optim_wrapper"):
            content["optimizer"] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, "param_schedulers"):
            content["param_schedulers"] = self.scheduler_state_dict()
        content |= extra_ckpt or {}
        content["meta"] = {**content.get("meta", {}), "seed": self.seed}
        if callback is not None:
            callback(content)
        if "optimizer" in content and is_distributed():
            save_sharded(content, filename)
        else:
            save_whole(content, filename)

    def load_checkpoint(
        self,
        filename: str,
        *,
        map_location: str | Callable[..., Any] = "cpu",
        strict: bool = False,
        revise_keys: list[tuple[str, str]] = [(r"^module.", "")],  # noqa: B006  (mmengine's, not changed)
        callback: Callable[..., Any] | None = None,
    ) -> Any:
        """Load a folder or a file, saved by any number of processes."""
        if not is_sharded(filename):
            return super().load_checkpoint(
                filename,
                map_location="cpu",
                strict=strict,
                revise_keys=revise_keys,
                callback=callback,
            )
        self.logger.info(f"Load checkpoint from {filename}")
        rest = load_from_path(f"{filename}/{REST}")
        if is_distributed():
            checkpoint = fill(rest, self._target(filename), alone=False)
        else:
            checkpoint = read_sharded(rest)
        if callback is not None:
            callback(checkpoint)
        self.load_model_state_dict(checkpoint.pop("state_dict"), strict=strict)
        return checkpoint

    def _target(self, filename: str) -> Callable[[str, Any], Tensor]:
        """Make tensors split as the model's and the optimiser's, by their names in a checkpoint."""
        weights = {f"state_dict.{k}": v for k, v in self.model.state_dict().items()}

        def target(name: str, _: Any) -> Tensor:
            # States have the size of their parameter, and are split alike.
            state = re.fullmatch(r"optimizer\.state\.(\d+)\..+", name)
            like = self._parameters()[int(state[1])] if state else weights.get(name)
            if like is None:
                raise CheckpointError(f"checkpoint {filename} belongs to another model ({name})")
            return torch.zeros_like(like, requires_grad=False)

        return target

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: list[tuple[str, str]] = [(r"^module.", "")],  # noqa: B006  (mmengine's, not changed)
    ) -> None:
        """Load weights, split or not."""
        own = self.model.state_dict()
        state = {re.sub(r"^module\.", "", k): v for k, v in state_dict.items()}
        shared = {k: _share_out(v, own[k]) if k in own else v for k, v in state.items()}
        super().load_model_state_dict(shared, strict=strict, revise_keys=revise_keys)

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the optimiser's state, split or not."""
        parameters = self._parameters() if "state" in state_dict else []
        for i, state in state_dict.get("state", {}).items():
            for name, value in state.items():
                state[name] = _share_out(value, parameters[i])
        super().load_optim_state_dict(state_dict)

    def _parameters(self) -> list[Tensor]:
        """Return the optimiser's parameters in its order."""
        return [p for group in self.optim_wrapper.param_groups for p in group["params"]]


def check_hooks(cfg: Config) -> None:
    """Raise UserError if a config has FSDP2Strategy and a hook that needs the full model."""
    if (cfg.get("strategy") or {}).get("type") != "FSDP2Strategy":
        return
    for hook in cfg.get("custom_hooks") or []:
        if hook.get("type") in _NEED_WHOLE_MODEL:
            raise UserError(
                f"{hook.type} needs the full model in one process, and FSDP2Strategy splits it: "
                "remove the hook, or use the config without -fsdp"
            )


def _fully_shard() -> Callable[..., Any]:
    from torch.distributed import fsdp

    if not hasattr(getattr(fsdp, "FSDPModule", None), "set_reshard_after_forward"):
        raise UserError(
            f"FSDP2Strategy needs PyTorch 2.8 or newer, and this is {torch.__version__}: update it"
        )
    return fsdp.fully_shard


def _share_out(value: Any, like: Tensor) -> Any:
    """This process' part of a full tensor, if ``like`` has its size and is split."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _keep_whole_outside_training(model: nn.Module, inputs: Any) -> None:
    """Keep all units collected in validation, and free them in training.

    Images of different sizes have different numbers of windows. A process with more windows would
    wait for the others, which are done, to collect a block.
    """
    from torch.distributed.fsdp import FSDPModule

    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        if unit is not model:
            unit.set_reshard_after_forward(model.training, recurse=False)
        if not model.training:
            unit.unshard()
