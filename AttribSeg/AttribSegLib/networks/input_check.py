"""What every network asks of its parameters and of the images it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import torch


def require_kind(dimensions: int, in_channels: int) -> None:
    """Refuse a network for images that there are not.

    Parameters
    ----------
    dimensions : {2, 3}
    in_channels : int
        At least 1.

    Raises
    ------
    InputError
        Names the value.
    """
    if dimensions not in (2, 3):
        raise InputError(f"dimensions {dimensions}: 2 or 3 was expected")
    if in_channels < 1:
        raise InputError(f"in_channels {in_channels}: at least 1 was expected")


def require_input(
    x: torch.Tensor, *, dimensions: int, in_channels: int, minimum_size: int = 1
) -> None:
    """Refuse images of another shape than a network was built for, or too small ones.

    Parameters
    ----------
    x : Tensor
        Expected as (B, C, I, J[, K]).
    dimensions : {2, 3}
    in_channels : int
    minimum_size : int
        Smallest number of voxels along any axis.

    Raises
    ------
    InputError
        Says what was expected.
    """
    if x.ndim != dimensions + 2 or x.shape[1] != in_channels:
        raise InputError(
            f"input of shape {tuple(x.shape)}: (B, {in_channels}, ...) with {dimensions} spatial "
            "axes was expected"
        )
    if min(x.shape[2:]) < minimum_size:
        raise InputError(
            f"input of {tuple(x.shape[2:])} voxels: at least {minimum_size} along every axis are "
            "needed"
        )
