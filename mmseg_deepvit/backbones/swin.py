"""mmseg's Swin Transformer, whose weights come from any published file.

mmseg loads what has its own names and passes over the rest without a word: of a file with the Swin
repository's names it takes the norms alone. :func:`mmseg_deepvit.safe_loading.install` registers
the class in mmseg's place, under mmseg's name, so that configs stay as they are.

Paper: Swin Transformer, https://arxiv.org/abs/2103.14030.
Reference: mmseg ``mmseg/models/backbones/swin.py`` (``init_weights``: tables of another window are
resized, bicubic).
Deviations: names of every Swin family are taken; what is missing is an error.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.models.backbones.swin import SwinTransformer as MMSegSwinTransformer
from torch import Tensor

from ..checkpoints import read_backbone
from ..checkpoints.compatibility import check_kinds, check_shapes
from ..checkpoints.normalization import Normalization
from ..errors import CheckpointError

#: What the model makes itself, and the norms of its outputs, which classifiers do not have.
_OWN = re.compile(r".+\.relative_position_index|norm\d*\..+")


class SwinTransformer(MMSegSwinTransformer):
    """Swin Transformer of mmseg, with mmseg's arguments.

    Args:
        init_cfg: Initialisation: ``dict(type='Pretrained', checkpoint=…)`` loads a file as
            :func:`load_pretrained_swin` describes (further keys are passed on to it); otherwise as
            in mmseg.
        **arguments: Any other argument of mmseg's class.

    Attributes:
        trained_input: The file that was loaded, and how the images were normalised that it was
            trained on or None; None where none was loaded.
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


#: Keys of ``init_cfg`` that say nothing here: mmseg reads every prefix, and to the CPU.
_MMENGINE_KEYS = ("type", "prefix", "map_location")


def load_pretrained_swin(
    model: SwinTransformer, checkpoint: str | os.PathLike, weights: str | None = None
) -> None:
    """Load a published or own checkpoint into mmseg's Swin Transformer.

    Args:
        model: The backbone; changed in place, or not at all where an error is raised.
        checkpoint: A file, an http(s) address, or ``timm://NAME``.
        weights: ``'ema'`` or ``'model'`` where the file holds a model and its moving average; None
            for what the published accuracy was measured with.

    Raises:
        CheckpointError: The file cannot be read, or belongs to another model.
        ValueError: ``weights`` is no choice.
    """
    conversion = read_backbone(checkpoint, "swin", weights)
    own = model.state_dict()
    state = {k: v for k, v in conversion.state.items() if not k.endswith("relative_position_index")}
    missing = [k for k in own if k not in state and not _OWN.fullmatch(k)]
    unexpected = [k for k in state if k not in own and not _is_beyond(k, len(model.stages))]
    if missing or unexpected:
        owner = "model" if missing else "file"
        first = (missing or unexpected)[0]
        raise CheckpointError(
            f"{checkpoint} does not fit the model: only the {owner} has {first} "
            f"({len(missing)} tensors are missing, {len(unexpected)} unexpected); set depths, "
            "qkv_bias, patch_norm and use_abs_pos_embed to match"
        )
    state = {k: v for k, v in state.items() if k in own}
    check_kinds(own, state, checkpoint)
    state |= dict(_resized_tables(state, own))
    remedy = "set embed_dims, num_heads, mlp_ratio and patch_size to match"
    check_shapes(own, state, checkpoint, remedy)
    model.load_state_dict(state, strict=False)
    model.trained_input = (str(checkpoint), conversion.normalization)
    print_log(f"Loaded {len(state)} tensors from {checkpoint}", "current")


def _is_beyond(key: str, num_stages: int) -> bool:
    """Whether a name belongs to stages that the model leaves out, or to the norm of an output."""
    stage = re.match(r"stages\.(\d+)\.(downsample)?", key)
    if stage is None:
        return _OWN.fullmatch(key) is not None
    return int(stage[1]) >= num_stages - (stage[2] is not None)


def _resized_tables(
    state: dict[str, Tensor], own: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Tables of relative positions, ((2·w - 1)², heads), at the model's window w."""
    for key, table in state.items():
        if key.endswith("relative_position_bias_table") and len(table) != len(own[key]):
            old, new = (math.isqrt(len(t)) for t in (table, own[key]))
            if old * old != len(table):
                continue  # of no window; its shape is refused
            maps = table.T.float().reshape(1, -1, old, old)
            resized = F.interpolate(maps, (new, new), mode="bicubic", align_corners=False)
            yield key, resized.flatten(2)[0].T.contiguous()
