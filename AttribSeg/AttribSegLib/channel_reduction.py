"""One map out of the maps of several channels."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .errors import InputError

#: Reductions over all channels; "channel 1", "channel 2", ... take a single one.
SUM, MEAN, MAXIMUM = "sum", "mean", "maximum"
_CHANNEL = "channel "


def reduce_channels(channels: NDArray[Any], how: str) -> NDArray[Any]:
    """Sum, mean or maximum over channels, or one of them.

    Parameters
    ----------
    channels : ndarray of shape (C, I, J, K)
    how : {"sum", "mean", "maximum", "channel 1", "channel 2", ...}

    Returns
    -------
    ndarray of shape (I, J, K)

    Raises
    ------
    InputError
        If there is no such reduction or channel.

    Examples
    --------
    >>> maps = np.array([[1.0, -2.0], [3.0, 0.0]])
    >>> reduce_channels(maps, "mean"), reduce_channels(maps, "channel 2")
    (array([ 2., -1.]), array([3., 0.]))
    """
    if how == SUM:
        return channels.sum(axis=0) if len(channels) > 1 else channels[0]
    if how == MEAN:
        return channels.mean(axis=0)
    if how == MAXIMUM:
        return channels.max(axis=0)
    names = channel_names(len(channels))
    if how in names:
        return channels[names.index(how)]
    raise InputError(f"reduction {how!r}: one of {', '.join((SUM, MEAN, MAXIMUM, *names))}")


def channel_names(count: int) -> tuple[str, ...]:
    """Names of the channels, counted from 1.

    >>> channel_names(2)
    ('channel 1', 'channel 2')
    """
    return tuple(f"{_CHANNEL}{index + 1}" for index in range(count))
