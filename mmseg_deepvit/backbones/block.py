"""The transformer block of the trunk, and its recomputation in backward.

Paper: ViT, https://arxiv.org/abs/2010.11929; residual scale: DeepViT, https://arxiv.org/abs/2103.11886;
LayerScale: CaiT, https://arxiv.org/abs/2103.17239.
Reference: zhoudaquan/dvit_repo for the place of the residual scale; timm for LayerScale's names.
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
        attn: The attention, (B, N, C) to (B, N, C).
        embed_dims: Width C of the tokens.
        mlp_ratio: Hidden width of the MLP over C.
        residual_scale: a; DeepViT-S and -L use 0.5.
        layer_scale_init: Start of γ; None for no LayerScale.
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
        if a == 1.0:
            x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
            return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(a * x)))) / a
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(a * x)))) / a


def layer_scale(embed_dims: int, init: float | None) -> nn.Module:
    """LayerScale of a width that starts at ``init``, or nothing for None."""
    return nn.Identity() if init is None else LayerScale(embed_dims, init)


def recompute_in_backward(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block without keeping its activations; backward runs it a second time.

    The second run sees each BatchNorm exactly as the first did and leaves the running statistics
    alone, which a plain ``torch.utils.checkpoint`` would update twice.

    Args:
        block: Maps (B, N, C) to (B, N, C).
        x: (B, N, C).

    Returns:
        (B, N, C), the same as ``block(x)``.
    """

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _statistics_untouched(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _statistics_untouched(module: nn.Module) -> Iterator[None]:
    """Have the BatchNorms below update copies of their running statistics, which are thrown away.

    Not tracking any would save fewer tensors for backward than the first run did, which
    checkpointing takes for an error.
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
