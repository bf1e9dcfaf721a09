"""What blocks that mix attention heads do with their maps: flat arguments of a trunk, in one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..attention.call_settings import DropoutPosition
from .arguments import check_choice


@dataclass(frozen=True)
class MapSettings:
    """Settings of attention maps; the trunk's documentation describes each.

    Attributes:
        pre_mix: Whether logits are mixed before the softmax.
        post_mix: Whether probabilities are mixed after it.
        mix_bias: Whether the mixes have a bias.
        mix_norm_cfg: Norm of the mixed maps, or None.
        mix_scale: Factor of the mixed maps; None for (head width)^-½.
        map_tokens: Number of tokens that mixes and norms are for, ``'img_size'``, or None.
        attn_drop_position: Where dropout of maps acts, ``'softmax'`` or ``'mix'``.
    """

    pre_mix: bool = False
    post_mix: bool = False
    mix_bias: bool = True
    mix_norm_cfg: dict | None = None
    mix_scale: float | None = 1.0
    map_tokens: int | str | None = None
    attn_drop_position: DropoutPosition = "softmax"

    def arguments(self, num_tokens: int) -> dict[str, Any]:
        """Arguments of an attention layer.

        Args:
            num_tokens: Number of tokens of ``img_size``, class and register tokens among them.

        Raises:
            ValueError: ``map_tokens`` is another word than ``'img_size'``.
        """
        if not isinstance(self.map_tokens, str):
            return asdict(self)
        check_choice("map_tokens", self.map_tokens, ("img_size",))
        return {**asdict(self), "map_tokens": num_tokens}
