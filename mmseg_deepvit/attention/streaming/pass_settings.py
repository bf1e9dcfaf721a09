"""What happens to the attention maps of a call, in the terms of the passes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor


@dataclass(frozen=True)
class LayerNormOverHeads:
    """LayerNorm over the H heads of each entry of the mixed maps, whose mix is centred already.

    Attributes:
        weight: (H,), any mix_scale multiplied in.
        map_bias: (H,), centred bias of the mix, or None.
        eps: Added to the variance.
    """

    weight: Tensor
    map_bias: Tensor | None
    eps: float


@dataclass(frozen=True)
class Dropout:
    """Dropout of maps that can be repeated: each block of each image has a seed of its own.

    Attributes:
        p: Probability of dropping an entry, in (0, 1).
        seed: Of the call.
        after_mix: Whether A is dropped out (CaiT) and not P (DeepViT).
    """

    p: float
    seed: int
    after_mix: bool

    def factors(self, out: Tensor, image: int, block: int) -> Tensor:
        """Fill ``out`` with the factors 0 and 1 / (1 − p) of a block of an image."""
        generator = Generator(out.device)
        generator.manual_seed((self.seed + 1_000_003 * image + block) % 2**63)
        return out.bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)


@dataclass(frozen=True)
class PassSettings:
    """What happens to the maps of a call.

    Attributes:
        scale: Factor of the logits.
        pre: (H, H) mix of the logits or None.
        post: (H, H) mix of the probabilities, any affine norm folded in, or None.
        bias: (H,), added to the final map, or None.
        norm: LayerNorm between the mix and ``bias``, or None.
        dropout: Or None.
        centred: Whether P less 1/N is mixed; P must not be dropped out. It is the values that are
            centred then, which is the same since rows of P sum to one.
    """

    scale: float
    pre: Tensor | None
    post: Tensor | None
    bias: Tensor | None = None
    norm: LayerNormOverHeads | None = None
    dropout: Dropout | None = None
    centred: bool = False

    @property
    def drops_probabilities(self) -> bool:
        """Whether dropout acts on P."""
        return self.dropout is not None and not self.dropout.after_mix

    @property
    def drops_mixed(self) -> bool:
        """Whether dropout acts on A."""
        return self.dropout is not None and self.dropout.after_mix

    @property
    def output_bias(self) -> Tensor | None:
        """The bias where it may be left out of the maps and added to the output as b_h Σ_j V_h."""
        return None if self.drops_mixed else self.bias

    @property
    def map_bias(self) -> Tensor | None:
        """The bias where it must stand on the maps, because dropout comes after it."""
        return self.bias if self.drops_mixed else None
