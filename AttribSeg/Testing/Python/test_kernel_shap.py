from itertools import product
from math import comb

import pytest
import torch
from AttribSegLib.attribution.kernel_shap import kernel_shap

SHAPES = {2: (4, 6), 3: (3, 4, 6)}


def five_labels(shape: tuple[int, ...]) -> torch.Tensor:
    labels = torch.arange(6).clamp(max=4).expand(shape).clone()
    labels[..., :1, 0] = 4
    return labels


def score_of(shape: tuple[int, ...]):
    weights = torch.randn(4, 2, *shape) / 3

    def score(x: torch.Tensor) -> torch.Tensor:
        h = (x[:, None] * weights).flatten(2).sum(2)
        return h[:, 0].tanh() * h[:, 1] + h[:, 2].relu() + h[:, 3]

    return score


def shapley(score, image, reference, labels) -> torch.Tensor:
    """Shapley values of one image by all 2^n coalitions."""
    n = int(labels.max()) + 1
    coalitions = list(product((0, 1), repeat=n))
    kept = torch.tensor(coalitions)[:, labels][:, None]
    scores = dict(
        zip(coalitions, score(kept * image + (1 - kept) * reference).tolist(), strict=True)
    )
    values = torch.zeros(n)
    for i, coalition in product(range(n), coalitions):
        if coalition[i] == 0:
            joined = (*coalition[:i], 1, *coalition[i + 1 :])
            weight = 1 / (n * comb(n - 1, sum(coalition)))
            values[i] += weight * (scores[joined] - scores[coalition])
    return values


@pytest.mark.parametrize("dimensions", [2, 3])
def test_approaches_the_exact_values(dimensions):
    torch.manual_seed(1)
    shape = SHAPES[dimensions]
    score, labels = score_of(shape), five_labels(shape)
    x, reference = torch.randn(2, 2, *shape), 0.3 * torch.randn(1, 2, *shape)
    found = kernel_shap(score, x, labels=labels, reference=reference, samples=3000)
    unlike = []
    for b in range(2):
        expected = shapley(score, x[b], reference[0], labels)
        error = (found[b, 0] - expected[labels]).abs().max()
        assert error < 0.1 * expected.abs().max()
        image = x[b : b + 1]
        alone = [score(image) - score(image.where(labels != i, reference)) for i in range(5)]
        unlike.append((torch.cat(alone) - expected).abs().max() / expected.abs().max())
    # Taking super-voxels away one by one is something else.
    assert max(unlike) > 0.2


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("samples", [30, 300])
def test_sums_to_the_difference_of_the_scores(dimensions, samples):
    torch.manual_seed(1)
    shape = SHAPES[dimensions]
    score, labels = score_of(shape), five_labels(shape)
    x = torch.randn(3, 2, *shape)
    found = kernel_shap(score, x, labels=labels, reference=0.5, samples=samples)
    total = sum(found[:, 0][:, labels == label][:, 0] for label in range(5))
    expected = score(x) - score(torch.full_like(x, 0.5))
    torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-3)


def test_a_linear_score_gives_its_parts():
    torch.manual_seed(1)
    weights, x = torch.randn(2, 4, 6), torch.randn(1, 2, 4, 6)
    labels = five_labels((4, 6))
    found = kernel_shap(lambda x: (x * weights).flatten(1).sum(1), x, labels=labels, samples=100)
    for label in range(5):
        part = float((weights * x[0])[:, labels == label].sum())
        assert abs(float(found[0, 0][labels == label].mean()) - part) < 1e-3
