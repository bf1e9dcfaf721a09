import pytest
from torch import nn

from mmseg_deepvit.module_calls import catch_results, evaluation, watch_calls


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x, *, plus=0):
        return self.factor * x + plus


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Scaled(2), Scaled(3)

    def forward(self, x):
        return self.second(self.first(x), plus=1)


def test_calls_are_seen_whole_and_in_order_and_change_nothing():
    model, seen = Pair(), []

    def see(key, call):
        seen.append((key, call.module, call.args, call.kwargs, call.output))
        return "another result"

    with watch_calls({2: model.second, 1: model.first}, see):
        assert model(1) == 7
    model(5)
    assert seen == [(1, model.first, (1,), {}, 2), (2, model.second, (2,), {"plus": 1}, 7)]


def test_modules_may_be_keys_and_the_last_result_counts():
    model = Pair()
    with catch_results({model.first: model.first, "all": model}) as caught:
        model(1)
        model(10)
    assert list(caught.items()) == [(model.first, 20), ("all", 61)]


def test_nothing_stays_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).eval())
    modes = [module.training for module in model.modules()]
    watched = catch_results(dict(model.named_modules()))
    with pytest.raises(ValueError, match="False"), evaluation(model), watched:
        raise ValueError(any(module.training for module in model.modules()))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(AttributeError), catch_results({0: model, 1: None}):
        pass
    assert not model._forward_hooks
