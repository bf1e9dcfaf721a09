import json

import pytest
import torch

from mmseg_deepvit.command_line.benchmark import (
    Times,
    describe_machine,
    interleaved_times,
    peak_memory,
    plot_lines,
    relative_error,
    write_json,
)
from mmseg_deepvit.errors import UserError

CPU = torch.device("cpu")


def test_times_are_median_and_quartiles():
    assert Times.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Times(3.0, 2.0, 4.0)
    assert Times.of([2.0]) == Times(2.0, 2.0, 2.0)
    assert str(Times(0.0123456, 0.01, 0.02)) == "12.35 (10–20)"


def test_candidates_take_turns():
    calls = []
    times = interleaved_times({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert "".join(calls) == "abababab"  # the first of each is not measured
    assert set(times) == {"a", "b"}
    assert all(t.low <= t.median <= t.high for t in times.values())


def test_peak_memory_sees_what_is_freed_again():
    def use(megabytes):
        torch.ones(megabytes * 250_000)

    small, large = (peak_memory(lambda m=m: use(m), CPU) for m in (10, 200))
    if small is None:
        pytest.skip("this system does not tell")
    assert 150e6 < large < 260e6
    assert small < 60e6


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_peak_memory_passes_on_what_is_raised(error):
    def fail():
        raise error("of the function")

    if peak_memory(lambda: None, CPU) is None:
        pytest.skip("this system does not tell")
    with pytest.raises(error, match="of the function"):
        peak_memory(fail, CPU)


def test_relative_error():
    assert relative_error(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0])) == 0.25
    assert relative_error(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5


def test_json(tmp_path):
    path = tmp_path / "new" / "figures.json"
    write_json(str(path), describe_machine(CPU), {"n": 1}, [{"name": "a", "t": Times(1, 0, 2)}])
    content = json.loads(path.read_text())
    assert content["results"] == [{"name": "a", "t": {"median": 1, "low": 0, "high": 2}}]
    assert content["machine"]["torch"] == torch.__version__
    with pytest.raises(UserError, match="cannot be written"):
        write_json(str(tmp_path), {}, {}, [])


def test_plot(tmp_path):
    path = tmp_path / "new" / "lines.png"
    plot_lines(str(path), "x", {"y": {"a": [(1, 1), (10, 100)]}, "z": {"a": [(1, 2), (2, 3)]}})
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="cannot be written"):
        plot_lines(str(tmp_path / "lines.nonsense"), "x", {"y": {}, "z": {}})
