"""What happens to the attention maps of a call: the settings that all backends take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

#: Where attention dropout acts: on P (DeepViT) or on A (CaiT).
DropoutPosition = Literal["softmax", "mix"]


@dataclass(frozen=True)
class CallSettings:
    """Mixes, norm and dropout of attention maps, in the order in which they act.

    Attributes:
        scale: Factor of the logits, usually d^-½.
        pre_weight: (H, H) mix of the logits; row h makes head h. None for no mix.
        pre_bias: (H,), added to the mixed logits.
        post_weight: (H, H) mix of the probabilities. None for no mix.
        post_bias: (H,), added to the mixed probabilities.
        map_norm: Norm of the mixed maps: BatchNorm2d or SyncMapNorm over (B, N, N) for each
            head, or LayerNorm over the H heads of each entry. In training mode a BatchNorm
            normalises by the batch and updates its running statistics.
        mix_scale: Factor of the normalised maps; in exports maybe a tensor, ().
        dropout_p: Probability, in [0, 1), that an entry of the map is dropped; 0 outside training.
        dropout_position: ``'softmax'`` drops entries of P, ``'mix'`` drops entries of A.
    """

    scale: float
    pre_weight: Tensor | None = None
    pre_bias: Tensor | None = None
    post_weight: Tensor | None = None
    post_bias: Tensor | None = None
    map_norm: nn.Module | None = None
    mix_scale: float | Tensor = 1.0
    dropout_p: float = 0.0
    dropout_position: DropoutPosition = "softmax"

    @property
    def changes_nothing(self) -> bool:
        """Whether this is plain attention, but for dropout."""
        nothing_mixed = self.pre_weight is None and self.post_weight is None
        return nothing_mixed and self.map_norm is None and not self.scales_maps

    @property
    def scales_maps(self) -> bool:
        """Whether ``mix_scale`` is not 1; a tensor counts as that."""
        return isinstance(self.mix_scale, Tensor) or self.mix_scale != 1.0
