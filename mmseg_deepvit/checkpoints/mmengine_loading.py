"""Safe loaders for mmengine's ``CheckpointLoader``, put in place by :func:`replace_loaders`.

``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained', …)``, ``mim test`` and
``mmseg.apis.init_model`` all use that class. OneDL's mmengine runs a file's code where safe reading
fails. OpenMMLab's, from PyTorch 2.6 on, cannot read the files that it writes.

Reference: mmengine ``mmengine/runner/checkpoint.py`` (the schemes).
Deviations: tensors come on the CPU, whatever ``map_location`` says; models and optimisers copy them
to their devices. mmengine executes configurations in a file when it resumes, so only literals stay.
"""

from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import CheckpointError
from .allowed_objects import InertHistory
from .checkpoint import Checkpoint
from .config_literals import is_plain_config
from .loading import read_checkpoint


def load_from_path(filename: str, map_location: Any = None) -> Checkpoint:
    """Load a local file or an address.

    Args:
        filename: Path or address, as :func:`~mmseg_deepvit.checkpoints.read_checkpoint` takes it.
        map_location: Not used.

    Returns:
        Content of the file, with log histories that mmengine can continue.

    Raises:
        CheckpointError: The file cannot be read without running its code, or no model can take its
            weights.
    """
    content = read_checkpoint(filename)
    content.tensors(content.get("state_dict", content)).check_plain()
    _restore_histories(content)
    _drop_programs(content)
    return content


def load_by_name(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load weights that torchvision or OpenMMLab name; of a classifier, the backbone."""
    scheme, _, name = filename.partition("://")
    if scheme.endswith("mmlab"):
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    addresses: Mapping[str, str] = getattr(mmengine_checkpoint, _LISTS[scheme])()
    if name not in addresses:
        raise CheckpointError(f"checkpoint {filename}: mmengine knows no {name}; give its address")
    address = addresses[name]
    if not address.startswith(("http://", "https://")):
        address = osp.join(mmengine_checkpoint._get_mmengine_home(), address)
    content = load_from_path(address)
    if scheme == "mmcls":
        return dict(mmengine_checkpoint._process_mmcls_checkpoint(content))
    return content


def load_from_store(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a file from an object store that mmengine has a backend for."""
    with get_file_backend(filename).get_local_path(filename) as local:
        return load_from_path(str(local))


def _restore_histories(content: Checkpoint) -> None:
    """Turn stand-ins into the log histories that mmengine continues when it resumes."""
    hub = content.get("message_hub")
    scalars = hub.get("log_scalars") if isinstance(hub, Mapping) else None
    if isinstance(scalars, dict):
        scalars.update({k: _history(v, content) for k, v in scalars.items()})


def _history(value: Any, content: Checkpoint) -> Any:
    if not isinstance(value, InertHistory):
        return value
    state = vars(value)
    logged, counts, most = (state.get(k) for k in ("_log_history", "_count_history", "max_length"))
    plain = (
        isinstance(logged, np.ndarray)
        and isinstance(counts, np.ndarray)
        and logged.ndim == 1
        and logged.shape == counts.shape
        and {logged.dtype.kind, counts.dtype.kind} <= set("biuf")
    )
    if not plain or not isinstance(most, int) or most < 1:
        raise content.error("has a damaged log history", "take an earlier checkpoint")
    return HistoryBuffer(logged, counts, most)


def _drop_programs(content: Checkpoint) -> None:
    """Remove configurations that are more than data, since mmengine would execute them."""
    hub = content.get("message_hub")
    places: list[tuple[Any, str]] = [(content.meta, "config"), (content.meta, "cfg")]
    places += [(hub.get("runtime_info"), "cfg")] if isinstance(hub, Mapping) else []
    for place, key in places:
        if isinstance(place, dict) and key in place and not is_plain_config(place[key]):
            del place[key]
            print_log(
                f"the configuration in checkpoint {content.path} is more than plain data; it is "
                "left out, as mmengine would run it",
                "current",
                logging.WARNING,
            )


#: mmengine's functions that list names and addresses.
_LISTS = {
    "modelzoo": "get_torchvision_models",
    "torchvision": "get_torchvision_models",
    "open-mmlab": "get_external_models",
    "openmmlab": "get_external_models",
    "mmcls": "get_mmcls_models",
}
#: Loaders and mmengine's schemes; paths without a scheme are included.
_LOADERS: tuple[tuple[Callable[..., dict[str, Any]], tuple[str, ...]], ...] = (
    (load_from_path, ("", "http://", "https://")),
    (load_by_name, tuple(f"{scheme}://" for scheme in _LISTS)),
    (load_from_store, (r"(\S+\:)?s3://", r"(\S+\:)?petrel://", "pavi://")),
)


def replace_loaders() -> None:
    """Register the loaders of this file with mmengine's ``CheckpointLoader``."""
    for loader, prefixes in _LOADERS:
        CheckpointLoader.register_scheme(prefixes, loader, force=True)
