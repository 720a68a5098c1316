"""Training of one network for some steps, and what counts as divergence."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from AttribSegLib.metrics.image import auroc
from labelled_images import Images
from torch import nn
from torch.nn import functional

OPTIMISERS = {
    "SGD": torch.optim.SGD,
    "Adam": torch.optim.Adam,
    "Adadelta": torch.optim.Adadelta,
}
#: Accuracy below which a network of six classes has not learned; guessing gives a sixth.
LEARNED = 0.25
#: The last loss of a run is the mean over so many steps.
_LAST = 5


@dataclass(frozen=True)
class Setting:
    """How a network is trained."""

    optimiser: str
    rate: float
    steps: int
    batch: int
    seed: int
    #: Steps between looks at the inner validation part.
    every: int
    #: Whether the learning rate falls linearly to zero.
    decay: bool = False
    #: Accuracy on the inner part below which nothing was learned.
    learned: float = LEARNED


def train(
    network: nn.Module, setting: Setting, images: Images, inner: Images
) -> tuple[dict[str, Any], nn.Module]:
    """Train a network with cross-entropy, in place; give back the best state of it too.

    Computes on the network's device; a network with one logit per image has two classes. Stops
    where the loss is not finite. Batches are drawn by the setting's seed alone, so that all
    networks see the same ones. "Best" is the look at the inner part with the highest accuracy, of
    equal ones that with the lower loss.

    Returns
    -------
    record : dict
        Losses by step, looks (step, accuracy and loss on the inner part), the state of the run
        (see :func:`outcome`) and the best look.
    best : Module
        A copy of the network at the best look.
    """
    generator = torch.Generator().manual_seed(setting.seed)
    network.to(memory_format=torch.channels_last)
    optimiser = OPTIMISERS[setting.optimiser](network.parameters(), lr=setting.rate)
    losses: list[float] = []
    looks: list[dict[str, float]] = []
    best, order = copy.deepcopy(network), torch.empty(0, dtype=torch.long)
    network.train()
    for step in range(1, setting.steps + 1):
        if len(order) < setting.batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[: setting.batch], order[setting.batch :]
        logits, classes = _logits(network, images.x[chosen], images.y[chosen])
        loss = functional.cross_entropy(logits, classes)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if setting.decay:
            for group in optimiser.param_groups:
                group["lr"] = setting.rate * (1 - step / setting.steps)
        if step % setting.every == 0 or step == setting.steps:
            looks.append({"step": step, **measure(network, inner)})
            network.train()
            if looks[-1] is max(looks, key=_goodness):
                best = copy.deepcopy(network)
    record = {
        "losses": losses,
        "looks": looks,
        "outcome": outcome(losses, looks[-1]["accuracy"] if looks else 0.0, setting.learned),
        "best": max(looks, key=_goodness, default=None),
    }
    return record, best


def outcome(losses: list[float], accuracy: float, learned: float = LEARNED) -> str:
    """What became of a run, by its losses and its last accuracy: one of three words.

    Diverged: a loss was not finite, or the last (mean of five steps) is above the first. Not
    learned: the accuracy is below what is asked for. Learned: neither of these.
    """
    last = losses[-_LAST:]
    if not all(math.isfinite(each) for each in losses) or sum(last) / len(last) > losses[0]:
        return "diverged"
    return "learned" if accuracy >= learned else "not learned"


def measure(network: nn.Module, images: Images, batch: int = 200) -> dict[str, float]:
    """Accuracy and mean cross-entropy, in evaluation mode."""
    right, loss = 0, 0.0
    for logits, classes in _looked_at(network, images, batch):
        right += int((logits.argmax(1) == classes).sum())
        loss += float(functional.cross_entropy(logits, classes, reduction="sum"))
    return {"accuracy": right / len(images), "loss": loss / len(images)}


def scored(network: nn.Module, images: Images, batch: int = 200) -> dict[str, Any]:
    """What a network is worth on a part that nothing was chosen on.

    Returns
    -------
    dict
        ``test``: accuracy; ``balanced``: mean over classes of the share that is right; ``auroc``,
        of two classes; ``right``: "1" or "0" for every image, in their order.
    """
    found = [logits.cpu().numpy() for logits, _ in _looked_at(network, images, batch)]
    logits, classes = np.concatenate(found), images.y.numpy()
    right = logits.argmax(1) == classes
    result = {
        "test": float(right.mean()),
        "balanced": float(np.mean([right[classes == each].mean() for each in np.unique(classes)])),
        "right": "".join("01"[int(each)] for each in right),
    }
    if logits.shape[1] == 2 and np.isfinite(logits).all():
        result["auroc"] = auroc(classes, logits[:, 1] - logits[:, 0])
    return result


def _looked_at(
    network: nn.Module, images: Images, batch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    network.eval()
    with torch.no_grad():
        for x, y in zip(images.x.split(batch), images.y.split(batch), strict=True):
            yield _logits(network, x, y)


def _logits(
    network: nn.Module, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all classes, and the classes, on the network's device."""
    device = next(network.parameters()).device
    if x.ndim == 4:
        # Convolutions of few channels are a third faster on processors in this layout.
        x = x.contiguous(memory_format=torch.channels_last)
    logits = network(x.to(device))
    if logits.ndim == 1:
        # One logit says how much pathological is ahead of healthy.
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
    return logits, y.to(device)


def _goodness(look: dict[str, float]) -> tuple[float, float]:
    loss = look["loss"]
    return look["accuracy"], -loss if math.isfinite(loss) else -math.inf
