import json
import math

import numpy as np
import pytest
import torch
from AttribSegLib.errors import InputError
from MonotoneNetLib.conversion import monotone
from MonotoneNetLib.depth_figure import depth_figure
from MonotoneNetLib.depth_report import DepthReport, statistics_by_depth
from MonotoneNetLib.initialisation import draw_standard_init_, propagate_variance_
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, padding=1)
        self.same = nn.Conv2d(5, 5, 3, padding=1)
        self.rectifier = nn.ReLU(inplace=True)
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        x = self.rectifier(self.conv(x))
        x = self.same(self.same(x))
        return self.last(x.mean((2, 3)))


def chain(depth=30, width=64):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


def test_statistics_are_those_of_outputs_and_of_their_gradients():
    torch.manual_seed(0)
    network, noise = Net(), torch.randn(6, 2, 7, 7)
    report = statistics_by_depth(network, noise, generator=torch.Generator().manual_seed(4))
    names = ["conv", "same", "same (2)", "last"]
    assert [layer.name for layer in report.layers] == names
    assert [layer.depth for layer in report.layers] == [0, 1, 2, 3]
    first = network.conv(noise)
    y = [first, network.same(first.relu())]
    y.append(network.same(y[1]))
    y.append(network.last(y[2].mean((2, 3))))
    direction = torch.empty_like(y[3]).normal_(generator=torch.Generator().manual_seed(4))
    gradients = torch.autograd.grad(y[3], y, direction)
    for layer, features, gradient in zip(report.layers, y, gradients, strict=True):
        assert layer.std == pytest.approx(float(features.detach().std()), rel=1e-5)
        assert layer.gradient_std == pytest.approx(float(gradient.detach().std()), rel=1e-4)
        axis = -1 if features.ndim == 2 else 1
        moments = second_moments((features - features.mean()).movedim(axis, -1))
        pairs = moments[~np.eye(len(moments), dtype=bool)].mean()
        assert layer.correlation == pytest.approx(pairs / np.diag(moments).mean(), rel=1e-4)


def second_moments(features):
    rows = features.detach().double().flatten(0, -2).numpy()
    return rows.T @ rows / len(rows)


def test_nothing_changes_and_gradients_are_not_added():
    network, noise = Net(), torch.randn(6, 2, 7, 7)
    network.conv.weight.requires_grad_(False)
    network.last.weight.grad = torch.ones_like(network.last.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        statistics_by_depth(network, noise)
        assert not torch.is_grad_enabled()
    assert network.training
    assert network.conv.weight.grad is None
    assert (network.last.weight.grad == 1).all()
    assert not noise.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_without_backward_there_are_no_gradients_and_json_says_so():
    report = statistics_by_depth(Net(), torch.randn(6, 2, 7, 7), backward=False)
    assert all(math.isnan(layer.gradient_std) for layer in report.layers)
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["layers"][0]["gradient_std"] is None
    lines = str(report).splitlines()
    assert len(lines) == 5
    assert lines[3].startswith("same (2)")


def test_positive_weights_correlate_features_and_ours_keeps_their_size():
    torch.manual_seed(0)
    noise = torch.randn(300, 64)
    signed = chain()
    draw_standard_init_(signed, slope=0.2)
    positive = monotone(chain())
    draw_standard_init_(positive, slope=0.2)
    with torch.no_grad():
        for layer in positive:
            if isinstance(layer, nn.Linear):
                layer.weight = layer.weight * 10
    ordinary, grown = (statistics_by_depth(net, noise) for net in (signed, positive))
    assert grown.layers[-1].std > 1e6 > 100 > ordinary.layers[-1].std
    propagate_variance_(positive, noise)
    kept = statistics_by_depth(positive, noise)
    assert all(layer.std == pytest.approx(1, abs=1e-3) for layer in kept.layers)
    for layer in kept.layers[3:]:
        assert layer.correlation > 0.8
        assert layer.predicted_correlation == pytest.approx(layer.correlation, rel=0.05)
    assert max(abs(layer.correlation) for layer in ordinary.layers) < 0.1


def test_features_out_of_range_are_reported_and_drawn():
    network = chain(12, 8)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Linear):
                layer.weight.fill_(1e6)
    report = statistics_by_depth(network, torch.randn(9, 8))
    assert report.layers[1].std > 1e12
    assert not math.isfinite(report.layers[-1].std)
    json.dumps(report.to_dict(), allow_nan=False)
    figure = depth_figure({"overflow": report})
    (line, end) = figure.axes[0].lines
    assert end.get_marker() == "^"
    assert end.get_xdata()[-1] == np.flatnonzero(np.isfinite(line.get_ydata()))[-1]
    figure.canvas.draw()


def test_figure_has_a_line_per_report_with_its_numbers():
    torch.manual_seed(0)
    reports = {name: statistics_by_depth(Net(), torch.randn(6, 2, 7, 7)) for name in "ab"}
    figure = depth_figure(reports)
    features, correlations, gradients = figure.axes
    for index, report in enumerate(reports.values()):
        for axis, key in ((features, "std"), (gradients, "gradient_std")):
            expected = [getattr(layer, key) for layer in report.layers]
            assert list(axis.lines[index].get_ydata()) == expected
    dots = correlations.lines[1].get_ydata()
    assert list(dots) == [layer.predicted_correlation for layer in reports["a"].layers]
    assert features.get_yscale() == gradients.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    figure.canvas.draw()


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="no Linear"):
        statistics_by_depth(nn.ReLU(), torch.ones(3, 2))
    with pytest.raises(InputError, match="at least one report"):
        depth_figure({})

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x), x

    with pytest.raises(InputError, match="gives a tuple"):
        statistics_by_depth(Two(), torch.ones(3, 2))
    assert isinstance(statistics_by_depth(Two(), torch.randn(3, 2), backward=False), DepthReport)
