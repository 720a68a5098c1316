"""Training of one network for some steps, and what counts as divergence."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from mednist import Images
from torch import nn
from torch.nn import functional

OPTIMISERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
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


def train(
    network: nn.Module, setting: Setting, images: Images, inner: Images
) -> tuple[dict[str, Any], nn.Module]:
    """Train a network with cross-entropy, in place; give back the best state of it too.

    Stops where the loss is not finite. Batches are drawn by the setting's seed alone, so that all
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
    optimiser = OPTIMISERS[setting.optimiser](network.parameters(), lr=setting.rate)
    network.to(memory_format=torch.channels_last)
    losses: list[float] = []
    looks: list[dict[str, float]] = []
    best, order = copy.deepcopy(network), torch.empty(0, dtype=torch.long)
    network.train()
    for step in range(1, setting.steps + 1):
        if len(order) < setting.batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[: setting.batch], order[setting.batch :]
        loss = functional.cross_entropy(_laid_out(network, images.x[chosen]), images.y[chosen])
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
        "outcome": outcome(losses, looks[-1]["accuracy"] if looks else 0.0),
        "best": max(looks, key=_goodness, default=None),
    }
    return record, best


def outcome(losses: list[float], accuracy: float) -> str:
    """What became of a run, by its losses and its last accuracy: one of three words.

    Diverged: a loss was not finite, or the last (mean of five steps) is above the first. Not
    learned: the accuracy is below a quarter; guessing gives a sixth. Learned: neither of these.
    """
    last = losses[-_LAST:]
    if not all(math.isfinite(each) for each in losses) or sum(last) / len(last) > losses[0]:
        return "diverged"
    return "learned" if accuracy >= LEARNED else "not learned"


def measure(network: nn.Module, images: Images, batch: int = 200) -> dict[str, float]:
    """Accuracy and mean cross-entropy, in evaluation mode."""
    network.eval()
    right, loss = 0, 0.0
    with torch.no_grad():
        for x, y in zip(images.x.split(batch), images.y.split(batch), strict=True):
            logits = _laid_out(network, x)
            right += int((logits.argmax(1) == y).sum())
            loss += float(functional.cross_entropy(logits, y, reduction="sum"))
    return {"accuracy": right / len(images), "loss": loss / len(images)}


def _laid_out(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    # Convolutions of few channels are a third faster on processors in this layout.
    return network(x.contiguous(memory_format=torch.channels_last))


def _goodness(look: dict[str, float]) -> tuple[float, float]:
    loss = look["loss"]
    return look["accuracy"], -loss if math.isfinite(loss) else -math.inf
