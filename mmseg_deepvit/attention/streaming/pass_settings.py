"""Settings of a streamed pass: mixes, norm and dropout of the maps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor


@dataclass(frozen=True)
class LayerNormOverHeads:
    """LayerNorm over the H heads of each entry of mixed maps; the mix already subtracts the mean.

    Attributes:
        weight: Weight times ``mix_scale``, (H,).
        map_bias: Centred bias of the mix, (H,), or None.
        eps: Summand of the variance.
    """

    weight: Tensor
    map_bias: Tensor | None
    eps: float


@dataclass(frozen=True)
class Dropout:
    """Dropout of maps that the backward pass can repeat: each block of each image has a seed.

    Attributes:
        p: Probability of dropping an entry, in (0, 1).
        seed: Seed of the call.
        after_mix: Whether dropout acts on A (CaiT) instead of P (DeepViT).
    """

    p: float
    seed: int
    after_mix: bool

    def factors(self, out: Tensor, image: int, block: int) -> Tensor:
        """Fill ``out`` with the factors, 0 or 1 / (1 − p), of a block of an image."""
        generator = Generator(out.device)
        generator.manual_seed((self.seed + 1_000_003 * image + block) % 2**63)
        return out.bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)


@dataclass(frozen=True)
class PassSettings:
    """Settings of the maps of a call, in the dtype of the maps.

    Attributes:
        scale: Factor of the logits.
        pre: Mix of the logits, (H, H), or None.
        post: Mix of the probabilities, (H, H), that includes any affine norm; or None.
        bias: Summand of the final maps, (H,), or None.
        norm: LayerNorm between the mix and ``bias``, or None.
        dropout: Dropout of P or A, or None.
        centred: Whether the mix acts on P − 1/N instead of P; never with dropout. Passes may
            subtract the mean of the values instead, because rows of P sum to one.
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
        """Bias that is added to the output, as b_h Σ_j V_h[j]; None if the maps need it."""
        return None if self.drops_mixed else self.bias

    @property
    def map_bias(self) -> Tensor | None:
        """Bias that is added to the maps, because dropout follows it; else None."""
        return self.bias if self.drops_mixed else None
