"""mmseg's Swin Transformer with weights from any published file.

mmseg ignores names that are not its own, without a message: from a file of the Swin repository it
loads the norms alone. :func:`mmseg_deepvit.safe_loading.install` registers this class under mmseg's
name, so configs need no change.

Paper: Swin Transformer, https://arxiv.org/abs/2103.14030.
Reference: mmseg ``mmseg/models/backbones/swin.py`` (``init_weights`` resizes tables of another
window, bicubic).
Deviations: files of every Swin family load; missing weights are an error.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

from mmengine.logging import print_log
from mmseg.models.backbones.swin import SwinTransformer as MMSegSwinTransformer
from timm.layers import resize_rel_pos_bias_table_simple
from torch import Tensor

from ..checkpoints import read_backbone
from ..checkpoints.compatibility import check_kinds, check_shapes
from ..checkpoints.normalization import Normalization

#: Names of a model that classifiers lack: the computed index, and the norms of the outputs.
_OWN = re.compile(r".+\.relative_position_index|norm\d*\..+")


class SwinTransformer(MMSegSwinTransformer):
    """Swin Transformer of mmseg, with mmseg's arguments.

    Args:
        init_cfg: Initialisation: ``dict(type='Pretrained', checkpoint=…)`` calls
            :func:`load_pretrained_swin`, with its other keys as arguments; otherwise as in mmseg.
        **arguments: Any other argument of mmseg's class.

    Attributes:
        trained_input: File that was loaded, and the normalisation of its training images (None
            where unknown); None where no file was loaded.
    """

    trained_input: tuple[str, Normalization | None] | None = None

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; see the class."""
        cfg = self.init_cfg
        if isinstance(cfg, dict) and cfg.get("type") == "Pretrained":
            load_pretrained_swin(self, **{k: v for k, v in cfg.items() if k not in _MMENGINE_KEYS})
            self.is_init = True
        else:
            super().init_weights()


#: Keys of mmengine's ``init_cfg`` without a use here: all prefixes are read, to the CPU.
_MMENGINE_KEYS = ("type", "prefix", "map_location")


def load_pretrained_swin(
    model: SwinTransformer, checkpoint: str | os.PathLike[str], weights: str | None = None
) -> None:
    """Load a published or own checkpoint into mmseg's Swin Transformer.

    Args:
        model: Backbone, changed in place; an error leaves it unchanged.
        checkpoint: Path of a file, http(s) address, or ``timm://NAME``.
        weights: Choice in files with a model and its moving average, ``'ema'`` or ``'model'``; None
            for the one whose accuracy was published.

    Raises:
        CheckpointError: The file cannot be read, or belongs to another model.
        ValueError: ``weights`` is another string.
    """
    conversion = read_backbone(checkpoint, "swin", weights)
    own = model.state_dict()
    state = {k: v for k, v in conversion.state.items() if not k.endswith("relative_position_index")}
    missing = [k for k in own if k not in state and not _OWN.fullmatch(k)]
    unexpected = [k for k in state if k not in own and not _is_beyond(k, len(model.stages))]
    if missing or unexpected:
        owner = "model" if missing else "file"
        first = (missing or unexpected)[0]
        raise conversion.state.error(
            f"does not fit the model: only the {owner} has {first} ({len(missing)} tensors are "
            f"missing, {len(unexpected)} unexpected)",
            "set depths, qkv_bias, patch_norm and use_abs_pos_embed to match",
        )
    state = conversion.state.part({k: v for k, v in state.items() if k in own})
    check_kinds(own, state)
    state.update(_resized_tables(state, own))
    check_shapes(own, state, "set embed_dims, num_heads, mlp_ratio and patch_size to match")
    model.load_state_dict(state, strict=False)
    model.trained_input = (state.path, conversion.normalization)
    print_log(f"Loaded {len(state)} tensors from {checkpoint}", "current")


def _is_beyond(key: str, num_stages: int) -> bool:
    """Whether a name belongs to a stage that the model does not have, or to an output's norm."""
    stage = re.match(r"stages\.(\d+)\.(downsample)?", key)
    if stage is None:
        return _OWN.fullmatch(key) is not None
    return int(stage[1]) >= num_stages - (stage[2] is not None)


def _resized_tables(
    state: dict[str, Tensor], own: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Tables of relative positions, ((2·w - 1)², heads), resized to the model's window w."""
    for key, table in list(state.items()):
        is_table = key.endswith("relative_position_bias_table")
        if is_table and math.isqrt(len(table)) ** 2 == len(table):
            window = (math.isqrt(len(own[key])) + 1) // 2
            resized = resize_rel_pos_bias_table_simple(
                table.float(), (window, window), own[key].shape
            )
            yield key, resized
