"""Checkpoints as safetensors: tensors and JSON only, so that loading executes nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..files import atomic_path

_META = "attribseg"


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and a JSON record into one safetensors file, atomically."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        # `save_file` makes files that only their owner may read, whatever the umask.
        temporary.write_bytes(save(plain, metadata={_META: json.dumps(meta)}))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or not safetensors (pickles are refused, not tried).
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file; the bundle or the run is not complete")
    try:
        with safe_open(path, framework="pt") as content:
            # A list of the file's keys, not a dictionary: `safe_open` offers no iteration.
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            meta = json.loads((content.metadata() or {}).get(_META, "{}"))
        if not isinstance(meta, dict):
            raise ValueError("its record is not a dictionary")
    except (SafetensorError, OSError, ValueError) as error:
        head = b""
        with suppress(OSError), path.open("rb") as stream:  # it may not be readable at all
            head = stream.read(4)
        pickled = head[:2] == b"PK" or head[:1] == b"\x80"
        reason = "a pickle, which is never loaded" if pickled else f"damaged ({error})"
        raise InputError(f"{path}: not safetensors weights but {reason}") from error
    return tensors, meta


def optimiser_tensors(
    optimiser: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """State of an optimiser as named tensors and plain numbers."""
    state = optimiser.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimiser.{index}.{key}"] = value
            else:
                numbers[f"{index}.{key}"] = value
    return tensors, {"numbers": numbers, "groups": state["param_groups"]}


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], meta: dict[str, Any]
) -> None:
    """Inverse of :func:`optimiser_tensors`."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    for name, value in meta["numbers"].items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": meta["groups"]})


def load_weights(network: nn.Module, tensors: dict[str, torch.Tensor], *, source: Path) -> None:
    """Load weights after checking names and shapes.

    Raises
    ------
    InputError
        Names the first weight that is missing, unknown or of another shape.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise InputError(f"{source}: weight {name} is missing; the file fits another network")
        if tensors[name].shape != tensor.shape:
            raise InputError(
                f"{source}: weight {name} has shape {tuple(tensors[name].shape)}, "
                f"{tuple(tensor.shape)} was expected; the file fits another network"
            )
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise InputError(f"{source}: unknown weight {unknown[0]}; the file fits another network")
    network.load_state_dict(tensors)
