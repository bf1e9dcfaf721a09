"""Head-mixing attention in passes that never hold a whole map: what all such backends share.

Paper: see :mod:`mmseg_deepvit.attention.explicit`, whose function this is, to rounding; row sums
kept for backward as in FlashAttention, https://arxiv.org/abs/2205.14135.
Deviations: none in result. BatchNorm of the maps is done on H×H moments
(:mod:`mmseg_deepvit.attention.map_statistics`).

Here is the function; below it :mod:`.operator` (what PyTorch sees) and the words that it and the
passes have in common: :mod:`.pass_settings` (what is done to the maps), :mod:`.gradients` and
:mod:`.row_split` (how query rows are cut). The passes themselves are
:mod:`mmseg_deepvit.attention.blockwise` and :mod:`mmseg_deepvit.attention.fused`.
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
    """Head-mixing attention that never holds a whole map.

    The same as :func:`~mmseg_deepvit.attention.explicit.explicit_attention`, effects on running
    statistics included; dropout draws other random numbers from the same generator. A
    SyncBatchNorm in training exchanges its H×H moments. A bias of the logits has no effect, since a
    softmax does not see it, and a gradient of zero.

    Args:
        q: Queries, (B, H, N, d), any floating dtype that the passes take.
        k: Keys, (B, H, N, d).
        v: Values, (B, H, N, d).
        settings: What happens to the maps; :func:`unsupported` has nothing against it.
        passes: Name of the passes, see :data:`.operator.STREAMING_BACKENDS`.
        block_rows: Query rows of a block, 1 to N.

    Returns:
        (B, H, N, d) in the dtype of ``v``.

    Raises:
        ValueError: A BatchNorm in training has one entry a head.
    """
    post_weight, post_bias = settings.post_weight, settings.post_bias
    norm = FoldedNorm(None, None)
    if post_weight is not None:
        norm = fold_norm(post_weight, post_bias, settings.map_norm, settings.mix_scale)
    if norm.kind == "batch" and q.shape[0] * q.shape[2] == 1:
        raise ValueError("BatchNorm in training needs more than one entry for each head")
    out, _, sums = streamed(
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
        update_running_statistics(settings.map_norm, sums, post_weight, post_bias)
    if post_weight is None and settings.scales_maps:
        out = settings.mix_scale * out
    return out.transpose(1, 2)


def unsupported(settings: CallSettings) -> str | None:
    """What of a call such passes cannot do, in words; None if it can do it all."""
    # The operator would drop tangents in silence; PyTorch says of neither in public.
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
