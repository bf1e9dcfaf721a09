"""Connect the processes that a launcher has started, before a runner is built.

mmengine connects them on GPUs only. Without GPUs the processes talk through gloo, and the
SyncBatchNorms of necks and heads, which need GPUs, become BatchNorms.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import barrier, get_rank, init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.registry import MODEL_WRAPPERS
from torch import nn

from ...errors import UserError

#: Variables that each launcher sets, and the command that starts a run with it.
_VARIABLES = {
    "pytorch": (("RANK", "WORLD_SIZE", "LOCAL_RANK"), "tools/dist_train.sh or torchrun"),
    "slurm": (("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"), "srun"),
    "mpi": (
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
        "mpirun",
    ),
}


def join_processes(cfg: Config) -> None:
    """Connect to the other processes of ``cfg.launcher``, for a runner that is built afterwards.

    With GPUs mmengine would do the same later. Without, ``cfg`` is changed: the runner needs none.

    Args:
        cfg: Full config with ``launcher``.

    Raises:
        UserError: The launcher's variables are missing, a machine has more processes than GPUs, or
            torchrun would hang when it restarts processes.
    """
    if cfg.launcher == "none" or is_distributed():
        return
    _set_variables(cfg.launcher)
    environment = cfg.get("env_cfg") or {}
    settings = dict(environment.get("dist_cfg") or {})
    set_multi_processing(**(environment.get("mp_cfg") or {}), distributed=True)
    if torch.cuda.is_available():
        _check_gpus()
        strategy = (cfg.get("strategy") or {}).get("type", "DDPStrategy")
        if strategy in ("DDPStrategy", "FSDP2Strategy"):  # others, as DeepSpeed's, connect them
            init_dist(cfg.launcher, **settings)
        return
    timeout = settings.get("timeout")
    dist.init_process_group("gloo", timeout=None if timeout is None else timedelta(seconds=timeout))
    _wrap_on_cpus(cfg)
    if get_rank() == 0:
        print(f"no GPU: {dist.get_world_size()} processes train on CPUs and talk through gloo")


def _set_variables(launcher: str) -> None:
    """Set torchrun's variables from the launcher's."""
    needed, start = _VARIABLES[launcher]
    if missing := [name for name in needed if name not in os.environ]:
        raise UserError(
            f"--launcher {launcher} needs variables that are not set ({', '.join(missing)}): start "
            f"with {start}, or drop --launcher"
        )
    if launcher == "slurm":
        rank, size, nodes = (os.environ[name] for name in needed)
        local_rank = os.environ.get("SLURM_LOCALID", "0")
        if "MASTER_ADDR" not in os.environ:
            os.environ["MASTER_ADDR"] = _first_host(nodes)
        # Jobs that share a machine need different ports.
        port = 29500 + int(os.environ.get("SLURM_JOB_ID", "0")) % 1000
        os.environ.setdefault("MASTER_PORT", str(port))
    else:
        _check_restarts()
        rank, size, local_rank = (os.environ[name] for name in needed)
        os.environ.setdefault("MASTER_PORT", "29500")
        if "MASTER_ADDR" not in os.environ:
            raise UserError(
                f"--launcher {launcher} needs MASTER_ADDR, the address of process 0's machine: "
                "export it"
            )
    os.environ.update(RANK=rank, WORLD_SIZE=size, LOCAL_RANK=local_rank)


def _check_restarts() -> None:
    """Refuse restarts after which processes would wait for ever for ended ones."""
    if may_restart() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UserError(
            "torchrun's --max-restarts hangs where the agent keeps its store over restarts: start "
            "with RESTARTS=… tools/dist_train.sh, or give torchrun --rdzv-backend=c10d and set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
        )


def _first_host(nodes: str) -> str:
    """The first machine of Slurm's short list, which ``scontrol`` expands."""
    advice = "set MASTER_ADDR to the first machine of the job"
    if shutil.which("scontrol") is None:
        raise UserError(f"--launcher slurm finds no scontrol to read {nodes!r} with: {advice}")
    command = ["scontrol", "show", "hostnames", nodes]
    result = subprocess.run(command, capture_output=True, text=True)
    hosts = result.stdout.split()
    if result.returncode or not hosts:
        raise UserError(f"scontrol knows no machines {nodes!r} ({result.stderr.strip()}): {advice}")
    return hosts[0]


def _check_gpus() -> None:
    here, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if here >= count:
        raise UserError(
            f"process {here} of this machine has no GPU: it has {count}; start as many processes "
            "as there are, or hide all GPUs with CUDA_VISIBLE_DEVICES= to train on CPUs"
        )


def _wrap_on_cpus(cfg: Config) -> None:
    """Make the runner wrap the model in :class:`CPUDistributedDataParallel`."""
    options = dict(cfg.get("model_wrapper_cfg") or {})
    if options.get("type", "MMDistributedDataParallel") == "MMDistributedDataParallel":
        unused = cfg.get("find_unused_parameters", False)
        cfg.model_wrapper_cfg = {
            **dict(broadcast_buffers=False, find_unused_parameters=unused),
            **options,
            **dict(type="mmseg.CPUDistributedDataParallel"),
        }
    cfg.pop("sync_bn", None)


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper for a model on a CPU.

    Args:
        module: Model, whose SyncBatchNorms become BatchNorms.
        device_ids: Argument of mmengine, not used.
        **kwargs: Arguments of ``MMDistributedDataParallel``.
    """

    def __init__(self, module: nn.Module, device_ids: Any = None, **kwargs: Any) -> None:
        super().__init__(module=revert_on_cpus(module), **kwargs)


def revert_on_cpus(model: nn.Module) -> nn.Module:
    """Replace SyncBatchNorms, which need GPUs, by BatchNorms, and say so in one line.

    The BatchNorm of attention maps stays synchronised. ``model`` is changed in place and returned.
    """
    count = sum(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    if count:
        model = revert_sync_batchnorm(model)
        print_log(
            f"no GPU: {count} SyncBN layers are BN, over the images of each process by itself; "
            "norms of attention maps stay synchronised",
            "current",
        )
    return model


def may_restart() -> bool:
    """Whether torchrun restarts processes when one fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def part_together() -> None:
    """Wait until every process is done, then disconnect.

    A launcher takes an exit with a status for a failure, and stops processes that still save.
    """
    if is_distributed():
        barrier()
        dist.destroy_process_group()
