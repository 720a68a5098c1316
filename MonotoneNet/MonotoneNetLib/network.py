"""An ordinary encoder below a monotone body: the features between them can be read."""

from __future__ import annotations

import torch
from torch import nn


class InterpretableMonotoneNet(nn.Module):
    r"""Classifier :math:`F = M \circ C` (thesis ch. 6).

    The encoder C keeps the grid and gives the interpretable features f = C(x); the body M is
    monotone in them: raising any feature of any voxel never lowers the logit. All features
    :math:`\le 0` give a logit :math:`\le 0`, all :math:`\ge 0` one :math:`\ge 0`. Nothing of the
    kind holds for the encoder, nor therefore between the image and the logit.

    Parameters
    ----------
    encoder : Module
        Maps (B, C, I, J[, K]) to features (B, F, I, J[, K]).
    body : Module
        Maps features to logits (B,); see :func:`.monotone`.
    """

    encoder: nn.Module
    body: nn.Module

    def __init__(self, encoder: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.body = body

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Interpretable features f = C(x), shape (B, F, I, J[, K])."""
        return self.encoder(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logit F(x) of every image, shape (B,)."""
        return self.body(self.encoder(x))
