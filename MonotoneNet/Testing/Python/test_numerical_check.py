import pytest
import torch
from AttribSegLib.errors import InputError
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.numerical_check import check_monotone
from torch import nn


def seeded():
    return torch.Generator().manual_seed(7)


def test_a_monotone_network_passes_in_single_precision_and_with_dropout():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3),
        nn.ELU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 2),
    )
    network = monotone(network)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    check = check_monotone(network, torch.randn(3, 1, 8, 8), generator=seeded())
    assert check.ok
    assert check.samples == 16 * 2 * 2 * 3
    assert "no violation" in str(check)
    assert network.training
    assert next(network.parameters()).dtype == torch.float32
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("dimension", [1, 30])
def test_an_ordinary_network_does_not(dimension):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(dimension, 20), nn.ReLU(), nn.Linear(20, 1))
    check = check_monotone(network, torch.randn(3, dimension), generator=seeded())
    assert not check.ok
    assert "NOT monotone" in str(check)


def test_the_figures_for_a_linear_map():
    """M(x) = 2 a - b: the gradient's most negative entry is half of the largest, negated."""
    network = nn.Linear(2, 1, bias=False)
    network.weight.data = torch.tensor([[2.0, -1.0]])
    check = check_monotone(network, torch.zeros(1, 2), generator=seeded())
    assert check.gradient_violation == pytest.approx(0.5)
    # At zero, along b alone, all of the output is the fall.
    assert check.violation == pytest.approx(1.0)


def test_one_pixel_that_is_seen_with_a_negative_sign():
    """Dense directions hide it; the gradient does not."""
    weight = torch.ones(1, 100)
    weight[0, 17] = -0.01
    network = nn.Linear(100, 1, bias=False)
    network.weight.data = weight
    check = check_monotone(network, torch.randn(2, 100), directions=1, generator=seeded())
    assert check.gradient_violation == pytest.approx(0.01)
    assert check.violation == 0
    assert not check.ok


def test_decreasing_without_gradient_is_seen_in_the_values():
    class Steps(nn.Module):
        def forward(self, x):
            return -x.sum(1).detach() + 0 * x.sum(1)

    check = check_monotone(Steps(), torch.randn(2, 4), generator=seeded())
    assert check.gradient_violation == 0
    assert check.violation > 0.01


def test_numbers_that_are_none_are_no_pass():
    network = nn.Linear(2, 1)
    network.weight.data.fill_(float("inf"))
    assert not check_monotone(network, torch.ones(1, 2)).ok


def test_bad_input():
    with pytest.raises(InputError, match="at least 1"):
        check_monotone(nn.Identity(), torch.ones(1, 1), directions=0)
    for x in (torch.zeros(0, 2), torch.tensor([[float("nan")]])):
        with pytest.raises(InputError, match="finite"):
            check_monotone(nn.Identity(), x)
    with pytest.raises(InputError, match="batch axis"):
        check_monotone(nn.Identity(), torch.ones(3))
