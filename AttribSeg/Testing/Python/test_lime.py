import sys

import numpy as np
import pytest
import torch
from AttribSegLib.attribution.kernel_shap import kernel_shap
from AttribSegLib.attribution.lime import lime
from AttribSegLib.attribution.supervoxels import supervoxels
from AttribSegLib.errors import InputError
from AttribSegLib.networks.patchgan import PatchGAN

METHODS = [lime, kernel_shap]
SHAPES = {2: (2, 2, 16, 15), 3: (2, 2, 14, 13, 12)}


def blocks(*shape: int) -> torch.Tensor:
    """Labels 0 to 5, in blocks along the last two axes."""
    i, j = shape[-2] // 2, shape[-1] // 3
    rows = torch.arange(shape[-2]) // i
    columns = torch.arange(shape[-1]) // j
    return (3 * rows.clamp(max=1)[:, None] + columns.clamp(max=2)).expand(shape).clone()


def linear(x: torch.Tensor) -> torch.Tensor:
    weights = torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
    return (weights * x).flatten(1).sum(1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_linear_score_gives_its_parts(dimensions):
    torch.manual_seed(1)
    x = torch.randn(SHAPES[dimensions])
    labels = blocks(*x.shape[2:])
    reference = torch.randn(1, 2, *(1,) * dimensions)
    found = lime(linear, x, labels=labels, reference=reference)
    assert found.shape == (2, 1, *x.shape[2:])
    for label in range(6):
        inside = labels == label
        part = linear((x - reference) * inside)
        values = found[:, 0][:, inside]
        torch.testing.assert_close(values.amin(1), values.amax(1))
        # The ridge pulls towards zero by a few hundredths.
        torch.testing.assert_close(values[:, 0], part, rtol=0.06, atol=0.1)


def test_near_the_image_counts_more_than_far_away():
    labels = blocks(4, 6)
    x = torch.ones(1, 1, 4, 6)

    def all_but_one(x: torch.Tensor) -> torch.Tensor:  # 1 for five or six blocks kept, else 0
        return (x.flatten(1).mean(1) > 0.8).float()

    # Unweighted, a block adds 6/32 - 1/32: of the 32 ways to set the others, with it 6 score 1.
    found = lime(all_but_one, x, labels=labels, samples=4000)
    assert found.min() > 5 / 32 * 1.2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_maps_are_constant_on_our_supervoxels(method, dimensions):
    torch.manual_seed(1)
    x = torch.randn(SHAPES[dimensions])
    network = PatchGAN(dimensions=dimensions, width=0.05, strides=(2, 1, 1, 1), in_channels=2)
    found = method(network, torch.nn.functional.pad(x, (4,) * 2 * dimensions), count=8, samples=60)
    assert found.shape == (2, 1, *(size + 8 for size in x.shape[2:]))
    padded = torch.nn.functional.pad(x, (4,) * 2 * dimensions)
    for b in range(2):
        labels = supervoxels(padded[b].mean(0).double().numpy(), count=8)
        for label in range(labels.max() + 1):
            assert len(found[b, 0][torch.as_tensor(labels == label)].unique()) == 1
    assert not torch.equal(found[0], found[1])
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_depends_on_the_seed_only(method):
    torch.manual_seed(1)
    x, labels = torch.randn(SHAPES[2]), blocks(16, 15)

    def score(x: torch.Tensor) -> torch.Tensor:
        return linear(x).tanh() * 5 + x.flatten(1).amax(1)

    state = torch.get_rng_state()
    found = method(score, x, labels=labels, samples=50)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    alone = method(score, x[1:], labels=labels.numpy(), samples=50, memory=1)
    torch.testing.assert_close(alone, found[1:], rtol=1e-4, atol=1e-4)
    each = method(score, x, labels=torch.stack([labels, 5 - labels]), samples=50)
    torch.testing.assert_close(each[0], found[0])
    assert not torch.allclose(each[1], found[1])
    assert not torch.allclose(method(score, x, labels=labels, samples=50, seed=1), found)


@pytest.mark.parametrize("method", METHODS)
def test_without_captum_it_says_what_to_install(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    with pytest.raises(InputError, match=r"pip install attribseg\[explain\]"):
        method(linear, torch.randn(SHAPES[2]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "samples 1"),
        ({"labels": np.zeros((16, 15), int)}, "labels 0 to 0"),
        ({"labels": 2 * blocks(16, 15)}, "labels 0 to 10, 6 of them"),
        ({"labels": blocks(16, 15) + 1}, "labels 1 to 6"),
        ({"labels": blocks(16, 15).float()}, "float32"),
        ({"labels": blocks(16, 14)}, "shape"),
        ({"reference": torch.zeros(3)}, "reference of shape"),
    ],
)
def test_bad_input(method, options, message):
    with pytest.raises(InputError, match=message):
        method(linear, torch.randn(SHAPES[2]), **options)
