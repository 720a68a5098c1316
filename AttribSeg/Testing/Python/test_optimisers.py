"""Yogi against a recursion in plain Python; its robust momentum; names and options."""

import math

import pytest
import torch
from AttribSegLib.errors import InputError
from AttribSegLib.optimisers import OPTIMISERS, Yogi, make_optimiser
from AttribSegLib.training.checkpoint import (
    load_tensors,
    optimiser_tensors,
    restore_optimiser,
    save_tensors,
)

LR, BETA1, BETA2, EPS, INITIAL = 0.3, 0.8, 0.95, 1e-2, 1e-3


def by_hand(start, gradients, *, amsgrad=False, weight_decay=0.0):
    """Yogi on one number (Zaheer et al. 2018, algorithm 2), with bias correction as in Adam."""
    x, m, v, largest, path = start, 0.0, INITIAL, INITIAL, []
    for t, gradient in enumerate(gradients, start=1):
        g = gradient + weight_decay * x
        m = BETA1 * m + (1 - BETA1) * g
        sign = (v > g * g) - (v < g * g)
        v = v - (1 - BETA2) * sign * g * g
        largest = max(largest, v)
        divisor = largest if amsgrad else v
        step = m / (1 - BETA1**t)
        x = x - LR * step / (math.sqrt(divisor / (1 - BETA2**t)) + EPS)
        path.append(x)
    return path


def run(optimiser_of, start, gradients):
    """Where a parameter goes under given gradients."""
    parameter = torch.nn.Parameter(torch.as_tensor(start, dtype=torch.float64))
    optimiser = optimiser_of([parameter])
    path = []
    for gradient in gradients:
        parameter.grad = torch.as_tensor(gradient, dtype=torch.float64).expand_as(parameter).clone()
        optimiser.step()
        path.append(parameter.detach().clone())
    return path, optimiser


def yogi(parameters, **options):
    defaults = {"lr": LR, "betas": (BETA1, BETA2), "eps": EPS, "initial": INITIAL}
    return Yogi(parameters, **{**defaults, "amsgrad": False, **options})


GRADIENTS = [0.5, -1.2, 0.01, 3.0, 0.02, 0.02, -0.4, 0.0, 0.0, 1e-5]


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"weight_decay": 0.1}])
def test_yogi_by_hand(options):
    path, _ = run(lambda p: yogi(p, **options), [2.0], GRADIENTS)
    expected = by_hand(2.0, GRADIENTS, **options)
    assert [float(x) for x in path] == pytest.approx(expected, rel=1e-9)


def test_every_number_goes_its_own_way():
    """But for the robust momentum, which weighs whole tensors."""
    starts = [2.0, -1.0, 0.0]
    rows = [[g, 2 * g, -g] for g in GRADIENTS]
    path, _ = run(yogi, starts, rows)
    for place, start in enumerate(starts):
        expected = by_hand(start, [row[place] for row in rows])
        assert [float(x[place]) for x in path] == pytest.approx(expected, rel=1e-9)


def test_amsgrad_divides_by_what_never_falls():
    seen = []
    for amsgrad in (True, False):
        parameter = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
        optimiser = yogi([parameter], amsgrad=amsgrad)
        generator = torch.Generator().manual_seed(0)
        values = []
        for step in range(60):
            # Large gradients first, so that the second moment falls again.
            size = 3.0 if step < 20 else 0.3
            noise = torch.randn(4, generator=generator, dtype=torch.float64)
            parameter.grad = size * noise
            optimiser.step()
            state = optimiser.state[parameter]
            values.append(state["largest" if amsgrad else "second"].clone())
        seen.append(torch.stack(values))
    assert (seen[0].diff(dim=0) >= 0).all()
    assert (seen[1].diff(dim=0) < 0).any()
    torch.testing.assert_close(seen[0], seen[1].cummax(dim=0).values)


def robust_by_hand(rows):
    """Student-t momentum of a vector (Ilboudo et al. 2020), nu the number of its entries."""
    size = len(rows[0])
    m, v, whole, momenta = [0.0] * size, [INITIAL] * size, BETA1 / (1 - BETA1), []
    for row in rows:
        distance = sum((g - a) ** 2 / (b + EPS) for g, a, b in zip(row, m, v, strict=True))
        weight = (size + size) / (size + distance)
        share = weight / (whole + weight)
        m = [a + share * (g - a) for g, a in zip(row, m, strict=True)]
        whole = whole * (2 * BETA1 - 1) / BETA1 + weight
        v = [
            b - (1 - BETA2) * ((b > g * g) - (b < g * g)) * g * g
            for g, b in zip(row, v, strict=True)
        ]
        momenta.append(m)
    return momenta


def test_robust_momentum_by_hand():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    rows[7] *= 50
    expected = robust_by_hand(rows.tolist())
    parameter = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimiser = yogi([parameter], robust=True)
    for row, momentum in zip(rows, expected, strict=True):
        parameter.grad = row.clone()
        optimiser.step()
        assert optimiser.state[parameter]["first"].tolist() == pytest.approx(momentum, rel=1e-9)


def test_an_outlier_moves_the_robust_momentum_little():
    moved = {}
    for robust in (False, True):
        parameter = torch.nn.Parameter(torch.zeros(20, dtype=torch.float64))
        optimiser = yogi([parameter], robust=robust)
        generator = torch.Generator().manual_seed(1)
        for _ in range(30):
            noise = torch.randn(20, generator=generator, dtype=torch.float64)
            parameter.grad = 1 + 0.1 * noise
            optimiser.step()
        before = optimiser.state[parameter]["first"].clone()
        torch.testing.assert_close(before, torch.ones_like(before), rtol=0.3, atol=0)
        parameter.grad = torch.full_like(parameter, -1000.0)
        optimiser.step()
        moved[robust] = float((optimiser.state[parameter]["first"] - before).abs().mean())
    assert moved[False] == pytest.approx(1001 * (1 - BETA1), rel=0.01)
    assert moved[True] < 0.01 * moved[False]


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"robust": True, "amsgrad": True}])
def test_converges_on_a_quadratic(options):
    scales = torch.tensor([1.0, 3.0, 10.0])
    target = torch.tensor([1.0, -2.0, 0.5])
    x = torch.nn.Parameter(torch.zeros(3))
    optimiser = Yogi([x], lr=0.05, betas=(0.9, 0.99), **options)
    for _ in range(400):
        optimiser.zero_grad()
        (scales * (x - target) ** 2).sum().backward()
        optimiser.step()
    assert (x - target).abs().max().item() < 0.05


def test_closure_and_frozen_parameters():
    x, frozen = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimiser = Yogi([x, frozen], lr=0.1)

    def closure():
        optimiser.zero_grad()
        loss = (x**2).sum()
        loss.backward()
        return loss

    losses = [optimiser.step(closure).item() for _ in range(5)]
    assert losses[0] == 2.0
    assert losses == sorted(losses, reverse=True)
    assert torch.equal(frozen, torch.ones(2))
    assert frozen not in optimiser.state


OPTIONS = {
    "adam": {"betas": [0.5, 0.9]},
    "adamw": {"amsgrad": True},
    "adadelta": {"rho": 0.8},
    "sgd": {"momentum": 0.9, "nesterov": True},
    "yogi": {"robust": True, "betas": [0.9, 0.99]},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_goes_on_from_a_file_as_if_it_had_never_stopped(tmp_path, name, dtype):
    gradients = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).to(dtype)

    def make():
        parameter = torch.nn.Parameter(torch.ones(4, dtype=dtype))
        options = {"learning_rate": 0.1, "weight_decay": 0.01, "options": OPTIONS[name]}
        return parameter, make_optimiser(name, [parameter], **options)

    def go(parameter, optimiser, rows):
        for row in rows:
            parameter.grad = row.clone()
            optimiser.step()

    whole, optimiser = make()
    go(whole, optimiser, gradients)
    first, optimiser = make()
    go(first, optimiser, gradients[:5])
    tensors, meta = optimiser_tensors(optimiser)
    save_tensors(tmp_path / "state.safetensors", tensors, meta)
    second, resumed = make()
    with torch.no_grad():
        second.copy_(first)
    restore_optimiser(resumed, *load_tensors(tmp_path / "state.safetensors"))
    go(second, resumed, gradients[5:])
    assert torch.equal(second, whole)
    assert not torch.equal(second, first)


def test_makes_them_by_name():
    kinds = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adadelta": torch.optim.Adadelta,
        "sgd": torch.optim.SGD,
        "yogi": Yogi,
    }
    assert set(kinds) == set(OPTIMISERS)
    for name, kind in kinds.items():
        made = make_optimiser(
            name,
            [torch.nn.Parameter(torch.zeros(1))],
            learning_rate=0.3,
            weight_decay=0.2,
            options=OPTIONS[name],
        )
        assert type(made) is kind
        group = made.param_groups[0]
        assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
        for key, value in OPTIONS[name].items():
            assert group[key] == value or list(group[key]) == value


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("lion", {}, "optimiser 'lion': one of adam"),
        ("Adam", {}, "optimiser 'Adam'"),
        ("adam", {"beta": 0.9}, "optimiser adam: its options"),
        ("adam", {"betas": [0.9, 1.5]}, "optimiser adam: its options"),
        ("sgd", {"momentum": -1}, "optimiser sgd: its options"),
        ("sgd", {"robust": True}, "optimiser sgd: its options"),
        ("yogi", {"momentum": 0.9}, "optimiser yogi: its options"),
        ("yogi", {"eps": 0}, "eps 0"),
        ("yogi", {"initial": -1.0}, "initial -1"),
        ("yogi", {"betas": [0.9, 1.0]}, "betas"),
        ("yogi", {"betas": [-0.1, 0.9]}, "betas"),
        ("yogi", {"betas": 0.9}, "optimiser yogi"),
        ("yogi", {"betas": [0.4, 0.9], "robust": True}, "0.5 to below 1"),
        ("yogi", {"eps": "small"}, "optimiser yogi"),
    ],
)
def test_bad_names_and_options_are_refused(name, options, named):
    with pytest.raises(InputError, match=named) as caught:
        make_optimiser(
            name, [torch.nn.Parameter(torch.zeros(1))], learning_rate=0.1, options=options
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"lr": 0.0}, {"lr": math.nan}, {"weight_decay": -0.1}])
def test_yogi_refuses_what_makes_no_sense(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Yogi([torch.nn.Parameter(torch.zeros(1))], **options)
    assert Yogi([torch.nn.Parameter(torch.zeros(1))], betas=(0.4, 0.9)).defaults["lr"] == 1e-2
