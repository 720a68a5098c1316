"""Monotone networks whose counterfactuals are the lesions (thesis ch. 6).

The package stands on ``AttribSegLib``; nothing there depends on it. What is listed here is loaded
when it is first used, so that importing the package stays instant.
"""

from importlib import import_module
from typing import Any

from AttribSegLib import __version__

#: Name -> module it lives in.
_PUBLIC = {
    "Certificate": "certificate",
    "ConvolutionalEncoder": "encoders",
    "Counterfactual": "counterfactuals",
    "InterpretableMonotoneNet": "network",
    "NotMonotone": "certificate",
    "UNetEncoder": "encoders",
    "certify": "certificate",
    "check_monotone": "numerical_check",
    "conversion_report": "conversion",
    "counterfactual": "counterfactuals",
    "depth_figure": "depth_figure",
    "draw_standard_init_": "initialisation",
    "monotone": "conversion",
    "propagate_variance_": "initialisation",
    "statistics_by_depth": "depth_report",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
