"""Streamed head-mixing attention: the part that all backends without full maps share.

Paper: :mod:`mmseg_deepvit.attention.explicit` computes the same function. FlashAttention,
https://arxiv.org/abs/2205.14135, also keeps row sums for the backward pass.
Deviations: none, up to rounding. BatchNorm of the maps works on H×H moments
(:mod:`mmseg_deepvit.attention.map_statistics`).

:mod:`.operator` registers the passes over the maps with PyTorch. :mod:`.pass_settings`,
:mod:`.gradients` and :mod:`.row_split` define the arguments and results of a pass. The passes are
in :mod:`mmseg_deepvit.attention.blockwise` and :mod:`mmseg_deepvit.attention.fused`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _BatchNorm

from ..call_settings import CallSettings
from ..map_norm import FoldedNorm, fold_norm, update_running_statistics
from .operator import streamed

__all__ = ["streamed_attention", "unsupported"]


def streamed_attention(
    q: Tensor, k: Tensor, v: Tensor, settings: CallSettings, passes: str, block_rows: int
) -> Tensor:
    """Compute head-mixing attention without holding a full map.

    The result is that of :func:`~mmseg_deepvit.attention.explicit.explicit_attention`, and so are
    the running statistics. Dropout draws other random numbers from the same generator. A
    SyncBatchNorm in training exchanges its H×H moments. A bias of the logits has no effect and a
    gradient of zero, because a softmax ignores constants.

    Args:
        q: Queries, (B, H, N, d), any floating dtype that the passes support.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: Settings of the call, for which :func:`unsupported` gives None.
        passes: Name of the passes in :data:`.operator.STREAMING_BACKENDS`.
        block_rows: Number of query rows in a block, 1 to N.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: A BatchNorm in training has one entry for each head.
    """
    batch, heads, tokens, width = q.shape
    if not tokens:  # the passes handle calls without images, but no images without tokens
        q, k, v = (x.reshape(0, heads, 1, width) for x in (q, k, v))
        return streamed_attention(q, k, v, settings, passes, 1).reshape(batch, heads, 0, width)
    post_weight, post_bias = settings.post_weight, settings.post_bias
    norm = FoldedNorm(None, None)
    if post_weight is not None:
        norm = fold_norm(post_weight, post_bias, settings.map_norm, settings.mix_scale)
    if norm.kind == "batch" and batch * tokens == 1:
        raise ValueError(
            "BatchNorm of maps in training needs more than one entry for each head; "
            "give more images or tokens"
        )
    out: Tensor
    out, _, moments = streamed(
        q,
        k,
        v,
        settings.pre_weight,
        settings.pre_bias,
        norm.post_weight,
        norm.post_bias,
        norm.weight,
        norm.bias,
        torch.randint(2**62, ()) if settings.dropout_p > 0 else None,
        settings.scale,
        norm.kind,
        norm.eps,
        settings.dropout_p,
        settings.dropout_position == "mix",
        block_rows,
        norm.group,
        passes,
    )
    if norm.kind == "batch" and post_weight is not None:
        update_running_statistics(settings.map_norm, moments, post_bias)
    if post_weight is None and settings.scales_maps:
        out = settings.mix_scale * out
    return out.transpose(1, 2)


def unsupported(settings: CallSettings) -> str | None:
    """Name the part of a call that no streamed pass supports; None if there is no such part."""
    # The operator would drop tangents in silence. PyTorch has no public names for these states.
    if forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return "forward-mode derivatives and transforms of torch.func"
    if settings.map_norm is None:
        return None
    if not isinstance(settings.map_norm, (_BatchNorm, nn.LayerNorm)):
        return f"a map norm of type {type(settings.map_norm).__name__}"
    if settings.post_weight is None:
        return "a map norm without a post mix"
    if settings.dropout_p > 0 and settings.dropout_position == "mix":
        return "dropout of maps that a norm has normalised"
    return None
