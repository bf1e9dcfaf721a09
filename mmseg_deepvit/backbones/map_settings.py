"""Arguments of a trunk that concern attention maps, as one dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..attention.call_settings import DropoutPosition
from .arguments import check_choice


@dataclass(frozen=True)
class MapSettings:
    """Settings of attention maps; :class:`~mmseg_deepvit.backbones.vit.ViTTrunk` describes each."""

    pre_mix: bool = False
    post_mix: bool = False
    mix_bias: bool = True
    mix_norm_cfg: dict[str, Any] | None = None
    mix_scale: float | None = 1.0
    map_tokens: int | str | None = None
    attn_drop_position: DropoutPosition = "softmax"

    def arguments(self, num_tokens: int) -> dict[str, Any]:
        """Arguments of an attention layer.

        Args:
            num_tokens: Number of tokens of ``img_size``, class and register tokens included.

        Raises:
            ValueError: ``map_tokens`` is a string other than ``'img_size'``.
        """
        if not isinstance(self.map_tokens, str):
            return asdict(self)
        check_choice("map_tokens", self.map_tokens, ("img_size",))
        return {**asdict(self), "map_tokens": num_tokens}
