import math

import pytest
import torch
from AttribSegLib.recipes.classification import classification_loss
from torch.nn import functional


def test_it_is_the_binary_cross_entropy():
    logits = torch.tensor([-2.0, 0.5, 3.0, -0.1], requires_grad=True)
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])
    loss, terms = classification_loss(logits, labels)
    expected = functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(each, logits)[0] for each in (loss, expected))
    torch.testing.assert_close(found, wanted)
    assert terms["classification"] == pytest.approx(expected.item())
    assert (terms["tpr"], terms["tnr"]) == (0.5, 0.5)


def test_certain_images_have_no_denormal_gradient():
    """exp(-95) is a denormal number, on which processors are slow; next to 1 it is nothing."""
    logits = torch.tensor([-95.0, -300.0, 95.0, -1.0], requires_grad=True)
    loss, _ = classification_loss(logits, torch.tensor([0.0, 0.0, 1.0, 0.0]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[:3].tolist() == [0.0, 0.0, 0.0]
    assert gradient[3] > 0
    wrong = torch.tensor([95.0], requires_grad=True)
    loss, _ = classification_loss(wrong, torch.tensor([0.0]))
    assert float(loss.detach()) == 95.0
    assert torch.autograd.grad(loss, wrong)[0] == 1.0


def test_a_missing_class_has_no_rate():
    _, terms = classification_loss(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 0.0]))
    assert math.isnan(terms["tpr"])
    assert terms["tnr"] == 0.5
