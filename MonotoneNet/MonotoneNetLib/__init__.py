"""Monotone networks whose counterfactuals are the lesions (thesis ch. 6).

The package stands on ``AttribSegLib``; nothing there depends on it.
"""

from AttribSegLib import __version__

__all__ = ["__version__"]
