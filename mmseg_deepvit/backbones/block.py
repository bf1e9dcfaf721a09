"""The transformer block of the trunk, and its recomputation in backward.

Paper: ViT, https://arxiv.org/abs/2010.11929; residual scale: DeepViT, https://arxiv.org/abs/2103.11886;
LayerScale: CaiT, https://arxiv.org/abs/2103.17239.
Reference: zhoudaquan/dvit_repo (where the residual scale acts); timm (names of LayerScale).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from timm.layers import DropPath, LayerScale, Mlp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..attention import HeadMixingAttention


class Block(nn.Module):
    """Pre-norm attention and MLP: x ← x + γ·f(norm(a·x)) / a for both.

    a is the residual scale, γ (C,) the learned LayerScale.

    Args:
        attn: Attention module, (B, N, C) to (B, N, C).
        embed_dims: Width C of the tokens.
        mlp_ratio: Hidden width of the MLP over C.
        residual_scale: Factor a; DeepViT-S and -L use 0.5.
        layer_scale_init: Initial value of γ; None for no LayerScale.
        drop: Dropout inside the MLP, in [0, 1).
        drop_path: Probability of skipping a branch for an image, in [0, 1).
    """

    def __init__(
        self,
        attn: HeadMixingAttention,
        embed_dims: int,
        mlp_ratio: float,
        residual_scale: float = 1.0,
        layer_scale_init: float | None = None,
        drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = attn
        self.ls1 = layer_scale(embed_dims, layer_scale_init)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio), drop=drop)
        self.ls2 = layer_scale(embed_dims, layer_scale_init)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) tokens to (B, N, C) tokens."""
        a = self.residual_scale
        x = x + self._branch(x, self.norm1, self.attn, self.ls1, a)
        return x + self._branch(x, self.norm2, self.mlp, self.ls2, a)

    def _branch(
        self, x: Tensor, norm: nn.Module, layer: nn.Module, scale: nn.Module, a: float
    ) -> Tensor:
        y: Tensor = self.drop_path(scale(layer(norm(x if a == 1.0 else a * x))))
        return y if a == 1.0 else y / a


def layer_scale(embed_dims: int, init: float | None) -> nn.Module:
    """LayerScale of width ``embed_dims`` whose factors start at ``init``; nothing for None."""
    return nn.Identity() if init is None else LayerScale(embed_dims, init)


def recompute_in_backward(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block without keeping its activations; the backward pass runs it a second time.

    A plain ``torch.utils.checkpoint`` would update the running statistics of BatchNorms twice.
    Here the second run starts from the same statistics and does not change them.

    Args:
        block: Module that maps (B, N, C) to (B, N, C).
        x: Tokens, (B, N, C).

    Returns:
        (B, N, C), the same as ``block(x)``.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_untouched(block)

    y: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return y


@contextmanager
def _statistics_untouched(module: nn.Module) -> Iterator[None]:
    """Let the BatchNorms of a module update copies of their statistics; drop the copies at the end.

    Checkpointing compares both runs and refuses a different number of saved tensors. The second
    run must therefore update statistics as the first did.
    """
    kept = [(norm, dict(norm.named_buffers())) for norm in module.modules() if is_batch_norm(norm)]
    for norm, buffers in kept:
        for name, value in buffers.items():
            setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, buffers in kept:
            for name, value in buffers.items():
                setattr(norm, name, value)


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm of any kind, SyncBatchNorm included."""
    return isinstance(module, _BatchNorm)
