"""Settings of one attention call, the same for all backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

#: Maps that attention dropout acts on: P (``'softmax'``, DeepViT) or A (``'mix'``, CaiT).
DropoutPosition = Literal["softmax", "mix"]


@dataclass(frozen=True)
class CallSettings:
    """Mixes, norm and dropout of attention maps, in the order in which they act.

    Attributes:
        scale: Factor of the logits, usually d^-½.
        pre_weight: Mix of the logits, (H, H); row h makes head h. None for no mix.
        pre_bias: Bias of the mixed logits, (H,), or None.
        post_weight: Mix of the probabilities, (H, H). None for no mix.
        post_bias: Bias of the mixed probabilities, (H,), or None.
        map_norm: Norm of the mixed maps: BatchNorm2d or SyncMapNorm over (B, N, N) for each
            head, or LayerNorm over the H heads of each entry. In training mode a BatchNorm
            normalises by the batch and updates its running statistics.
        mix_scale: Factor of the normalised maps; exports may give a tensor, ().
        dropout_p: Probability of dropping an entry of a map, in [0, 1); 0 outside training.
        dropout_position: Maps that dropout acts on: ``'softmax'`` for P, ``'mix'`` for A.
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
        """Whether the call is plain attention, apart from dropout."""
        nothing_mixed = self.pre_weight is None and self.post_weight is None
        return nothing_mixed and self.map_norm is None and not self.scales_maps

    @property
    def scales_maps(self) -> bool:
        """Whether ``mix_scale`` is a tensor or not 1."""
        return isinstance(self.mix_scale, Tensor) or self.mix_scale != 1.0
