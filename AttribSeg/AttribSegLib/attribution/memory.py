"""How many images may go through a network at once within a budget of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

#: Bytes that the batched steps of an attribution may take, unless said otherwise. On processors
#: larger batches are slower: their activations no longer stay in the cache.
DEFAULT_MEMORY = 2**28
#: On a processor no more is used at once, whatever the budget (see above).
_PROCESSOR_MEMORY = 2**27
#: More at once gains nothing.
_LARGEST_BATCH = 64
#: A backward pass holds gradients beside the activations that were saved for it.
_BACKWARD_FACTOR = 2.0


def batch_within(
    score: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, memory: int = DEFAULT_MEMORY
) -> int:
    """Number of copies of one image that may be differentiated at once within a budget.

    Costs one forward pass of the first image, in which the tensors that autograd saves are
    counted, each storage once.

    Parameters
    ----------
    score : callable
        Maps (B, C, I, J[, K]) to logits (B,).
    x : Tensor of shape (B, C, I, J[, K])
    memory : int
        Bytes.

    Returns
    -------
    int
        At least 1: a single image is never refused.
    """
    each = max(bytes_for_gradient(score, x), 1)
    if x.device.type == "cpu":
        memory = min(memory, _PROCESSOR_MEMORY)
    return int(max(1, min(_LARGEST_BATCH, memory // each)))


def bytes_for_gradient(score: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> int:
    """Bytes that the gradient of one image takes, by what autograd saves for it."""
    # Weights are saved too, but whatever the batch: only what grows with it counts.
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # A linear layer saves a view of its weights.
        whole = tensor if tensor._base is None else tensor._base
        if not isinstance(whole, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        # A copy: a view would count as the whole batch.
        score(x[:1].detach().clone().requires_grad_(True))
    image = x[0].numel() * x.element_size()
    return int(_BACKWARD_FACTOR * (sum(seen.values()) + image))
