"""Guard of speed: streaming must be faster than building maps, on any machine."""

import subprocess
import sys

import torch
from torch import nn

from mmseg_deepvit.attention import head_mixing_attention
from mmseg_deepvit.command_line.benchmark import interleaved_times

TOKENS = 1025  # an image of 512² in patches of 16², and a class token


def test_streaming_is_twice_as_fast_as_maps():
    """A separate process measures, because memory of other tests makes maps faster."""
    command = [sys.executable, "-m", __name__]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    streamed, explicit = map(float, result.stdout.splitlines()[-1].split())
    assert 2 * streamed < explicit


def measure():
    """Print the seconds of both: the first quartile, because other work makes some runs slow."""
    q, k, v = torch.randn(3, 1, 12, TOKENS, 32)
    call = dict(scale=32**-0.5, post_weight=torch.randn(12, 12), map_norm=nn.BatchNorm2d(12).eval())

    def attend(backend):
        with torch.no_grad():
            head_mixing_attention(q, k, v, **call, backend=backend)

    backends = ("blockwise", "explicit")
    calls = {name: lambda name=name: attend(name) for name in backends}
    times = interleaved_times(calls, 5)
    print(*(times[name].low for name in backends))


if __name__ == "__main__":
    measure()
