"""What every way of finding a counterfactual needs: scores, gradients, a ledger of results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from AttribSegLib.errors import InputError
from AttribSegLib.networks.twice import input_gradients_only
from torch import nn
from torch.nn.utils import parametrize


@contextmanager
def reading(body: nn.Module) -> Iterator[None]:
    """Within this context a network is only read: eval mode, and effective weights worked out once.

    The modes of all its modules come back afterwards. Gradients are on inside, whatever the
    caller has switched off, and the parameters get none.
    """
    modes = {module: module.training for module in body.modules()}
    body.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad(), parametrize.cached():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


class Problem:
    """Scores M(f - alpha) of some images of a batch, and the ledger of what was found for them.

    Parameters
    ----------
    body : Module
        M; maps (B, C, I[, J[, K]]) to (B,) or (B, 1). To be used within :func:`reading`.
    features : Tensor of shape (B, C, I[, J[, K]])
        f.
    region : Tensor of bool, of shape (B, 1, I[, J[, K]]), optional
        Where alpha may differ from zero.
    margin, sparsity : float
        m and lambda.
    signed : bool
        Whether alpha may be negative.

    Attributes
    ----------
    alpha : Tensor of the shape of the features
    score_before, score : Tensor of shape (B,)
    iterations, evaluations : Tensor of int of shape (B,)
    """

    def __init__(
        self,
        body: nn.Module,
        features: torch.Tensor,
        region: torch.Tensor | None,
        *,
        margin: float,
        sparsity: float,
        signed: bool,
    ) -> None:
        self.body = body
        # A tensor made in inference mode cannot enter a graph; its copy made out of it can.
        self.features = features.clone() if features.is_inference() else features.detach()
        self.region = region
        self.margin, self.sparsity, self.signed = margin, sparsity, signed
        count = len(features)
        self.alpha = torch.zeros_like(self.features)
        self.score_before = self.features.new_full((count,), torch.nan)
        self.score = self.score_before.clone()
        self.iterations = torch.zeros(count, dtype=torch.long, device=features.device)
        self.evaluations = torch.zeros_like(self.iterations)

    def start(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Score and gradient of all images as they are; those under the margin are recorded.

        Returns
        -------
        images, score, gradient : Tensor
            Numbers of the images that are left, (b,), and what is known of them.
        """
        images = torch.arange(len(self.features), device=self.features.device)
        zero = torch.zeros_like(self.features)
        score, gradient = self.scores_and_gradient(zero, images)
        self.score_before = score
        done = score < self.margin
        self.record(images[done], zero[done], score[done], 0)
        return images[~done], score[~done], gradient[~done]

    def scores(self, alpha: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """M(f - alpha) of the images with these numbers, shape (b,)."""
        with torch.no_grad():
            return self._forward(self._less(alpha, images), images)

    def scores_and_gradient(
        self, alpha: torch.Tensor, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """M(f - alpha) of shape (b,), and its gradient g in the features.

        The gradient costs two forwards more, so it is left out (zero) if all images are done.
        """
        leaf = self._less(alpha, images).requires_grad_(True)
        scores = self._forward(leaf, images)
        if not bool((scores >= self.margin).any()):
            return scores.detach(), torch.zeros_like(leaf)
        with input_gradients_only():
            (gradient,) = torch.autograd.grad(scores.sum(), leaf)
        return scores.detach(), gradient

    def positive(self, images: torch.Tensor) -> torch.Tensor:
        """Positive part of the features within the region, shape (b, C, I[, J[, K]])."""
        return self.within(self._of(self.features, images).clamp(min=0), images)

    def within(self, values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """The same, but zero out of the region."""
        return values if self.region is None else values * self._of(self.region, images)

    def sizes(self, images: torch.Tensor) -> torch.Tensor:
        """Number of features within the region, at least 1, shape (b,)."""
        whole = self.features[0].numel()
        if self.region is None:
            return self.features.new_full((len(images),), whole)
        voxels = self._of(self.region, images).flatten(1).sum(1)
        return (voxels * self.features.shape[1]).clamp(min=1).to(self.features.dtype)

    def record(
        self, images: torch.Tensor, alpha: torch.Tensor, score: torch.Tensor, iterations: int
    ) -> None:
        """Enter what was found for the images with these numbers."""
        self.alpha[images] = alpha
        self.score[images] = score
        self.iterations[images] = iterations

    def objective(self) -> torch.Tensor:
        """M(f - alpha) + lambda ||alpha||_1 of what is recorded, shape (B,)."""
        return self.score + self.sparsity * self.alpha.abs().flatten(1).sum(1)

    def _of(self, values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        # Indexing copies, which a batch that is still whole need not pay for.
        return values if len(images) == len(values) else values[images]

    def _less(self, alpha: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        return self._of(self.features, images) - alpha

    def _forward(self, x: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        scores = self.body(x)
        if not isinstance(scores, torch.Tensor) or scores.shape not in ((len(x),), (len(x), 1)):
            found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores)
            raise InputError(
                f"body: gave {found} for {len(x)} images; one score per image, (B,), was expected"
            )
        scores = scores.reshape(-1)
        self.evaluations[images] += 1
        if not bool(scores.isfinite().all()):
            numbers = images[~scores.isfinite()].tolist()
            raise InputError(
                f"body: its score of images {numbers} is not finite; check its weights"
            )
        return scores
