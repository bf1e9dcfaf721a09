"""A guard: streaming must stay faster than building maps, on this machine, whatever it is."""

import torch
from torch import nn

from mmseg_deepvit.attention import head_mixing_attention
from mmseg_deepvit.benchmark import interleaved_times

TOKENS = 1025  # an image of 512² in patches of 16², and a class token


def test_streaming_is_twice_as_fast_as_maps():
    q, k, v = torch.randn(3, 1, 12, TOKENS, 32)
    call = dict(scale=32**-0.5, post_weight=torch.randn(12, 12), map_norm=nn.BatchNorm2d(12).eval())

    def attend(backend):
        with torch.no_grad():
            head_mixing_attention(q, k, v, **call, backend=backend)

    backends = ("blockwise", "explicit")
    times = interleaved_times(
        {name: lambda name=name: attend(name) for name in backends}, 5, torch.device("cpu")
    )
    # The quickest runs: whatever else the machine does makes some of them slow.
    assert 2 * times["blockwise"].low < times["explicit"].low, times
