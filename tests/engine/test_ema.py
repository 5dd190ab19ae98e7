import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gan3d_ns.engine.ema import decay_with_warmup, update_ema
from gan3d_ns.errors import UserError


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def test_average_is_the_closed_form():
    module = network()
    average = copy.deepcopy(module)
    start = [parameter.detach().clone() for parameter in module.parameters()]
    history = []
    for _ in range(5):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()
        history.append([parameter.detach().clone() for parameter in module.parameters()])
        update_ema(average, module, 0.8)
    for index, parameter in enumerate(average.parameters()):
        expected = 0.8**5 * start[index] + sum(0.2 * 0.8 ** (4 - n) * history[n][index] for n in range(5))
        assert_close(parameter.detach(), expected)


def test_buffers_are_copied_and_nothing_is_shared():
    module = network()
    average = copy.deepcopy(module).requires_grad_(False)
    module(torch.randn(6, 3) + 2)
    update_ema(average, module, 0.999)
    for mine, theirs in zip(average.buffers(), module.buffers(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
    assert average[1].num_batches_tracked == 1


def test_decay_one_keeps_and_decay_zero_copies():
    module, average = network(), network()
    before = copy.deepcopy(average.state_dict())
    update_ema(average, module, 1.0)
    assert torch.equal(average[0].weight, before["0.weight"])
    update_ema(average, module, 0.0)
    assert_close(average.state_dict(), module.state_dict())


def test_a_module_without_parameters_is_no_error():
    update_ema(nn.ReLU(), nn.ReLU(), 0.9)


@pytest.mark.parametrize("decay", [-0.1, 1.5])
def test_impossible_decay_is_refused(decay):
    with pytest.raises(UserError, match=f"is {decay}"):
        update_ema(nn.ReLU(), nn.ReLU(), decay)


def test_warmup_grows_to_the_decay():
    decays = [decay_with_warmup(0.995, step) for step in range(0, 4000, 10)]
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[-1] == 0.995
