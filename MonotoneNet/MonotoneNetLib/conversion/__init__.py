"""Conversion of ordinary networks into monotone ones (thesis ch. 6).

:mod:`.convert` is the way in. What it relies on: :mod:`.sites` lists a network's modules,
:mod:`.leaves` says which of them are admissible, :mod:`.tracing` follows the forward methods with
torch.fx, :mod:`.graph_check` judges every call in them by the rules of :mod:`.functions`,
:mod:`.admission` puts these together, and :mod:`.rewriting` replaces functional activations.
"""

from .convert import monotone
from .known_forwards import monotone_forward
from .report import ConversionReport, conversion_report

__all__ = ["ConversionReport", "conversion_report", "monotone", "monotone_forward"]
