"""Guards of speed: each faster way to compute attention must be faster, on any machine."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmseg_deepvit.attention import head_mixing_attention
from mmseg_deepvit.attention.native import library
from mmseg_deepvit.command_line.benchmark import interleaved_times

TOKENS = 1025  # an image of 512² in patches of 16², and a class token
COMPILED = pytest.mark.skipif(not library.AVAILABLE, reason="installed without a C++ compiler")


@pytest.mark.parametrize(
    ("fast", "slow", "times"),
    [
        ("blockwise", "explicit", 2),
        pytest.param("native", "blockwise", 1.5, marks=COMPILED),
    ],
)
def test_faster_by_a_factor(fast, slow, times):
    """A separate process measures, because memory of other tests makes maps faster."""
    command = [sys.executable, "-m", __name__, fast, slow]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = dict(zip((fast, slow), map(float, result.stdout.split()[-2:]), strict=True))
    assert times * seconds[fast] < seconds[slow], seconds


def measure(backends):
    """Print the seconds of each: the first quartile, because other work makes some runs slow."""
    q, k, v = torch.randn(3, 1, 12, TOKENS, 32)
    call = dict(scale=32**-0.5, post_weight=torch.randn(12, 12), map_norm=nn.BatchNorm2d(12).eval())

    def attend(backend):
        with torch.no_grad():
            head_mixing_attention(q, k, v, **call, backend=backend)

    calls = {name: lambda name=name: attend(name) for name in backends}
    times = interleaved_times(calls, 5)
    print(*(times[name].low for name in backends))


if __name__ == "__main__":
    measure(sys.argv[1:])
