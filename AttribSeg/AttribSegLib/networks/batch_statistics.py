"""Networks that look at the other images of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def uses_batch_statistics(network: nn.Module) -> bool:
    """Whether an image's logit depends on the others of its batch, as the network stands."""
    return any(module.training or module.running_mean is None for module in _batch_norms(network))


@contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Within this context forward passes do not move running averages.

    For passes on images that are none of the data, such as points between two of them.
    """
    norms = _batch_norms(network)
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
