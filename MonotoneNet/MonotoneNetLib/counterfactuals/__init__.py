"""Counterfactuals of monotone and ordinary networks (thesis ch. 6, eq. 6.15 and 6.16)."""

from .find import METHODS, STARTS, Counterfactual, counterfactual

__all__ = ["METHODS", "STARTS", "Counterfactual", "counterfactual"]
