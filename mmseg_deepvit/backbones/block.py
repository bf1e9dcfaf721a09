"""The transformer block of the trunk, and its recomputation in backward.

Paper: ViT, https://arxiv.org/abs/2010.11929; residual scale: DeepViT, https://arxiv.org/abs/2103.11886;
LayerScale: CaiT, https://arxiv.org/abs/2103.17239.
Reference: zhoudaquan/dvit_repo (where the residual scale acts); timm (names of LayerScale).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from timm.layers import DropPath, LayerScale
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..attention import HeadMixingAttention, Rotation


class Block(nn.Module):
    """Pre-norm attention and MLP: x ← x + γ·f(norm(a·x)) / a for both.

    a is the residual scale, γ (C,) the learned LayerScale.

    Args:
        attn: Attention module, (B, N, C) to (B, N, C).
        mlp: MLP, (B, N, C) to (B, N, C).
        embed_dims: Width C of the tokens.
        residual_scale: Factor a; DeepViT-S and -L use 0.5.
        layer_scale_init: Initial value of γ; None for no LayerScale.
        norm_eps: ε of the LayerNorms.
        drop_path: Probability of skipping a branch for an image, in [0, 1).
    """

    def __init__(
        self,
        attn: HeadMixingAttention,
        mlp: nn.Module,
        embed_dims: int,
        residual_scale: float = 1.0,
        layer_scale_init: float | None = None,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.norm1 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.attn = attn
        self.ls1 = layer_scale(embed_dims, layer_scale_init)
        self.norm2 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.mlp = mlp
        self.ls2 = layer_scale(embed_dims, layer_scale_init)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, N, C) tokens to (B, N, C) tokens, whose attention rotates its last n tokens."""
        x = self._add(x, self.ls1(self.attn(self.norm1(self._scaled(x)), rotation)))
        return self._add(x, self.ls2(self.mlp(self.norm2(self._scaled(x)))))

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self.residual_scale == 1.0 else self.residual_scale * x

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        branch = self.drop_path(branch)
        return x + (branch if self.residual_scale == 1.0 else branch / self.residual_scale)


def layer_scale(embed_dims: int, init: float | None) -> nn.Module:
    """LayerScale of width ``embed_dims`` whose factors start at ``init``; nothing for None."""
    return nn.Identity() if init is None else LayerScale(embed_dims, init)


def recompute_in_backward(block: nn.Module, x: Tensor, rotation: Rotation | None = None) -> Tensor:
    """Run a block without keeping its activations; the backward pass runs it a second time.

    A plain ``torch.utils.checkpoint`` would update the running statistics of BatchNorms twice.
    Here the second run starts from the same statistics and does not change them.

    Args:
        block: Module that maps (B, N, C) to (B, N, C).
        x: Tokens, (B, N, C).
        rotation: Second argument of the block.

    Returns:
        (B, N, C), the same as ``block(x, rotation)``.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_untouched(block)

    y: Tensor = checkpoint(block, x, rotation, use_reentrant=False, context_fn=contexts)
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
