"""The classification loss that the recipes of classifiers share."""

from __future__ import annotations

import torch
from torch.nn import functional

#: Beyond this an image is right for certain in float32, and its gradient, next to 1, is nothing.
#: As a number it is not: exp(-90) and what follows from it are denormal, on which a processor
#: spends ten times as long.
_CERTAIN = 30.0


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """Binary cross-entropy, and what is watched of it.

    Parameters
    ----------
    logits, labels : Tensors of shape (B,)
        Labels are 0 (healthy) or 1 (pathological).

    Returns
    -------
    loss : Tensor, scalar
        Mean over images.
    terms : dict of str to float
        "classification", the loss; "tpr" and "tnr", the rates at a logit of zero, NaN without
        images of the class.
    """
    signed = torch.where(labels > 0, -logits.float(), logits.float())
    loss = functional.softplus(signed.clamp_min(-_CERTAIN)).mean()
    positive = (logits.detach() > 0).double()
    terms = {
        "classification": float(loss.detach().double()),
        "tpr": float(positive[labels > 0].mean()),
        "tnr": float(1 - positive[labels == 0].mean()),
    }
    return loss, terms
