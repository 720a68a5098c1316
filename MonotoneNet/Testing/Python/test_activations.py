import pytest
import torch
from AttribSegLib.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from MonotoneNetLib.activations import SplitActivation
from torch import nn
from torch.autograd import grad, gradcheck, gradgradcheck

ADMISSIBLE = [
    nn.ReLU(),
    nn.LeakyReLU(0.0),
    nn.LeakyReLU(0.2),
    nn.LeakyReLU(0.7),
    nn.LeakyReLU(1.5),
    nn.ELU(),
    nn.ELU(0.3),
    nn.CELU(0.5),
    nn.SELU(),
    nn.Identity(),
]
SHAPES = [(2, 1), (3, 5), (2, 4, 3), (1, 3, 2, 4), (2, 2, 3, 1, 2)]


def reference(activation, x, other=None):
    """The formula, channel by channel."""
    half = (x.shape[1] + 1) // 2
    made = [
        activation(x[:, c]) if c < half else -(other or activation)(-x[:, c])
        for c in range(x.shape[1])
    ]
    return torch.stack(made, 1)


@pytest.mark.parametrize("activation", ADMISSIBLE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_formula_exactly(activation, shape):
    torch.manual_seed(3)
    x = torch.randn(shape)
    x.view(-1)[0] = 0.0
    before = x.clone()
    assert torch.equal(SplitActivation(activation)(x), reference(activation, x))
    assert torch.equal(x, before)


@pytest.mark.parametrize("activation", ADMISSIBLE, ids=str)
def test_derivatives_first_and_second(activation):
    torch.manual_seed(4)
    split = SplitActivation(activation)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(split, (x,))
    assert gradgradcheck(split, (x,))
    # And among other functions, as in a penalty on gradients.
    assert gradgradcheck(lambda x: split(x.sin()) ** 2, (x,))
    expected = grad(reference(activation, x).square().sum(), x)[0]
    torch.testing.assert_close(grad(split(x).square().sum(), x)[0], expected)


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.7])
def test_slope_at_zero_is_pytorchs(slope):
    x = torch.zeros(1, 2, requires_grad=True)
    found = grad(SplitActivation(nn.LeakyReLU(slope))(x).sum(), x)[0]
    assert found.tolist() == [[pytest.approx(slope)] * 2]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2)], ids=str)
def test_memory_formats_and_strided_inputs(activation):
    torch.manual_seed(5)
    split = SplitActivation(activation)
    x = torch.randn(2, 5, 4, 6).to(memory_format=torch.channels_last)
    for each in (x, x[:, ::2], x.transpose(2, 3), x[:1].expand(3, -1, -1, -1)):
        leaf = each.detach().requires_grad_(True)
        assert torch.equal(split(leaf), reference(activation, leaf))
        found = grad(split(leaf).mean(), leaf)[0]
        torch.testing.assert_close(found, grad(reference(activation, leaf).mean(), leaf)[0])


@pytest.mark.parametrize("activation", ADMISSIBLE, ids=str)
@given(numbers=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=2))
def test_it_is_increasing_and_odd_as_a_pair(activation, numbers):
    split = SplitActivation(activation)
    low, high = (split(torch.tensor([[each, each]])) for each in sorted(numbers))
    assert bool((low <= high).all())
    # The second half is the first one turned by 180 degrees.
    mirrored = split(torch.tensor([[-max(numbers)] * 2]))
    assert torch.equal(high.flip(1), -mirrored)
    assert not split(torch.zeros(1, 2)).any()


def test_tanh_only_beside_a_partner():
    for pair in ((nn.Tanh(), nn.ReLU()), (nn.LeakyReLU(0.1), nn.Tanh()), (nn.Tanh(), nn.ELU())):
        x = torch.randn(2, 4)
        torch.testing.assert_close(SplitActivation(*pair)(x), reference(pair[0], x, pair[1]))
        assert SplitActivation(*pair)(torch.full((1, 2), -1e3)).min() <= -99
    for pair in ((nn.Tanh(),), (nn.ReLU(), nn.Tanh()), (nn.ELU(), nn.Tanh())):
        with pytest.raises(InputError, match=r"Tanh.* bounded below"):
            SplitActivation(*pair)


@pytest.mark.parametrize(
    ("activation", "reason"),
    [
        (nn.GELU(), "not increasing"),
        (nn.SiLU(), "not increasing"),
        (nn.Mish(), "not increasing"),
        (nn.Hardswish(), "not increasing"),
        (nn.PReLU(), "slope turns negative"),
        (nn.LeakyReLU(-0.1), "not increasing"),
        (nn.LeakyReLU(float("nan")), "not increasing"),
        (nn.ELU(-1.0), "not increasing"),
        (nn.Sigmoid(), "not zero at zero"),
        (nn.Softplus(), "not zero at zero"),
        (nn.ReLU6(), "bounded"),
        (nn.Hardtanh(), "bounded"),
        (nn.RReLU(), "random"),
        (nn.Softmax(1), "softmax"),
        (nn.Linear(1, 1), "not among"),
    ],
    ids=str,
)
def test_others_are_refused_by_name(activation, reason):
    with pytest.raises(InputError, match=f"{type(activation).__name__}.*{reason}"):
        SplitActivation(activation)


def test_it_works_out_of_place_and_leaves_the_given_one_alone():
    given_one = nn.ReLU(inplace=True)
    split = SplitActivation(given_one)
    assert given_one.inplace
    assert not split.activation.inplace
    x = torch.randn(1, 2)
    before = x.clone()
    split(x)
    assert torch.equal(x, before)


def test_no_channel_axis():
    with pytest.raises(InputError, match=r"\(B, C, \.\.\.\)"):
        SplitActivation(nn.ReLU())(torch.zeros(3))
