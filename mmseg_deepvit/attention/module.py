"""Head-mixing attention as a module with projections, mixes and a norm of the maps.

Paper: see :mod:`mmseg_deepvit.attention.explicit`, which holds the mathematics.
Reference: zhoudaquan/dvit_repo and timm ``models/cait.py`` for behaviour and parameter shapes.
Deviations: one module is plain attention, Re-attention or talking heads. Its parameters are always
named ``qkv``, ``proj``, ``pre_mix``, ``post_mix`` and ``mix_norm``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .call_settings import DropoutPosition
from .explicit import is_exporting
from .functional import BACKENDS, Backend, head_mixing_attention
from .rotation import Rotation, rotate
from .sync_norm import SyncMapNorm

#: Norms of mixed maps by mmcv's names. SyncBN here works on CPUs too.
_MAP_NORMS: dict[str | None, Callable[..., nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "BN2d": nn.BatchNorm2d,
    "SyncBN": SyncMapNorm,
    "LN": nn.LayerNorm,
}


class SplitHeads(nn.Module):
    """Queries, keys and values of each head; a module, so that hooks can read them.

    Args:
        num_heads: Number of heads H.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(
        self, qkv: Tensor, rotation: Rotation | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Split (B, N, 3·C) into q, k and v, (B, H, N, d) each; q and k are rotated."""
        # Gradients of chunks are joined by one copy, those of a permuted stack by two.
        parts = qkv.chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v


class HeadMixingAttention(nn.Module):
    """Multi-head self-attention whose maps may be mixed across heads.

    Args:
        embed_dims: Width C of the tokens; a multiple of ``num_heads``.
        num_heads: Number of heads H.
        qkv_bias: Whether queries, keys and values have a bias.
        pre_mix: Whether logits are mixed before the softmax.
        post_mix: Whether probabilities are mixed after the softmax.
        mix_bias: Whether the mixes have a bias. That of a post mix adds to each of a query's N
            probabilities; a norm cancels it, and without one its gradient drowns the others.
        mix_norm_cfg: Norm of the mixed maps, as for mmcv's ``build_norm_layer``: arguments and
            type, which is BN, SyncBN (on CPUs too) or LN (over heads). Needs ``post_mix``; None
            for no norm.
        mix_scale: Factor of the final maps, mixed or not; None for d^-½ (DeepViT-S).
        map_tokens: Number of tokens N₀ that mix, norm and biases of the maps are made for. They
            act alike in calls with other numbers of tokens (see :meth:`post_mix_of`). None for
            maps that change with N, as in the published models.
        attn_drop: Probability of dropping an entry of a map, in [0, 1).
        attn_drop_position: Maps that dropout acts on: ``'softmax'`` for P (DeepViT), ``'mix'`` for
            A (CaiT).
        proj_drop: Probability of dropping an output, in [0, 1).
        backend: Name of a backend of
            :func:`~mmseg_deepvit.attention.functional.head_mixing_attention`.

    Raises:
        ValueError: ``embed_dims`` is no multiple of ``num_heads``; a norm lacks ``post_mix`` or is
            none of BN, SyncBN and LN; ``map_tokens`` is below one; or ``attn_drop_position`` or
            ``backend`` is unknown.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        pre_mix: bool = False,
        post_mix: bool = False,
        mix_bias: bool = True,
        mix_norm_cfg: dict[str, Any] | None = None,
        mix_scale: float | None = 1.0,
        map_tokens: int | None = None,
        attn_drop: float = 0.0,
        attn_drop_position: DropoutPosition = "softmax",
        proj_drop: float = 0.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f"embed_dims must be a multiple of num_heads, got {embed_dims} and {num_heads}"
            )
        if attn_drop_position not in ("softmax", "mix"):
            raise ValueError(
                f"attn_drop_position must be 'softmax' or 'mix', got {attn_drop_position!r}"
            )
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        if map_tokens is not None and map_tokens < 1:
            raise ValueError(f"map_tokens must be at least 1, got {map_tokens}")
        head_dims = embed_dims // num_heads
        self.num_heads = num_heads
        self.scale = head_dims**-0.5
        self.mix_scale = head_dims**-0.5 if mix_scale is None else mix_scale
        self.attn_drop = attn_drop
        self.attn_drop_position = attn_drop_position
        self.backend = backend
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.split_heads = SplitHeads(num_heads)
        self.pre_mix = nn.Linear(num_heads, num_heads, bias=mix_bias) if pre_mix else None
        self.post_mix = nn.Linear(num_heads, num_heads, bias=mix_bias) if post_mix else None
        self.mix_norm = _build_map_norm(mix_norm_cfg, num_heads, post_mix)
        self.map_tokens = map_tokens
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Attend over the tokens of each image.

        Args:
            x: Tokens, (B, N, C).
            rotation: Rotary positions of the last n ≤ N tokens; None for none.

        Returns:
            (B, N, C).
        """
        q, k, v = self.split_heads(self.qkv(x), rotation)
        x = self._attend(q, k, v).transpose(1, 2).flatten(2)
        x = self.proj_drop(self.proj(x))
        return x

    def post_mix_of(self, num_tokens: int) -> tuple[Tensor | None, float | Tensor]:
        """Adapt the weight of the post mix, and the factor of the final maps, to N tokens.

        Rows of P sum to one, so entries of P shrink as 1/N. Biases, running means, β and the
        output of LayerNorm do not shrink, so they weigh more when there are more keys. Let f be the
        function of P that a call with N₀ = ``map_tokens`` tokens computes. Then the maps are

            A = (N₀ / N) f(P · N / N₀)

        Repeating every token k times then repeats the output exactly, with any norm. A running
        mean of a BatchNorm is right at any N.

        Args:
            num_tokens: Number N of tokens, including class and register tokens.

        Returns:
            The weight, (H, H), or None for no mix; and the factor, in exports a tensor, ().
        """
        if self.post_mix is None:
            return None, self.mix_scale
        weight = self.post_mix.weight
        if self.map_tokens is None or (not is_exporting() and num_tokens == self.map_tokens):
            return weight, self.mix_scale
        # N may be a symbol in exported graphs, which divide tensors only.
        tokens = weight.new_ones(()) * num_tokens if is_exporting() else num_tokens
        ratio = tokens / self.map_tokens
        return ratio * weight, self.mix_scale / ratio

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute (B, H, N, d) outputs from (B, H, N, d) queries, keys and values."""
        post_weight, mix_scale = self.post_mix_of(q.shape[2])
        return head_mixing_attention(
            q,
            k,
            v,
            scale=self.scale,
            pre_weight=None if self.pre_mix is None else self.pre_mix.weight,
            pre_bias=None if self.pre_mix is None else self.pre_mix.bias,
            post_weight=post_weight,
            post_bias=None if self.post_mix is None else self.post_mix.bias,
            map_norm=self.mix_norm,
            mix_scale=mix_scale,
            dropout_p=self.attn_drop if self.training else 0.0,
            dropout_position=self.attn_drop_position,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Show the settings that no child module shows."""
        tokens = "" if self.map_tokens is None else f", map_tokens={self.map_tokens}"
        scales = f"scale={self.scale:.4g}, mix_scale={self.mix_scale:.4g}"
        return f"num_heads={self.num_heads}, {scales}{tokens}"


def _build_map_norm(cfg: dict[str, Any] | None, num_heads: int, post_mix: bool) -> nn.Module | None:
    if cfg is None:
        return None
    if not post_mix:
        raise ValueError(f"mix_norm_cfg needs post_mix, got {cfg}; set post_mix=True")
    options = {"eps": 1e-5, **cfg}
    kind, requires_grad = options.pop("type", None), options.pop("requires_grad", True)
    if kind not in _MAP_NORMS:
        raise ValueError(f"mix_norm_cfg must be of type BN, SyncBN or LN, got {cfg}")
    return _MAP_NORMS[kind](num_heads, **options).requires_grad_(requires_grad)
